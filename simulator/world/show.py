"""What a run of worlds looks like in the terminal: a line for each seed, and what is wrong in full."""

from __future__ import annotations

import logging
import time

from rich.console import Console

from simulator.world.hall import run


def show(seeds: range, windows: int, minutes: float, kinds: list[str]) -> int:
    """Run one world for each seed; return the exit code, 0 only if nothing is wrong in any."""
    console = Console()
    logging.disable(logging.CRITICAL)  # thousands of troubles made on purpose are no news
    began = time.monotonic()
    presses = faults = 0
    bad: list[int] = []
    console.print("种子 seed 按键 presses 致谢 thanked 归集 collected 故障 faults")
    for seed in seeds:
        outcome = run(seed, windows=windows, seconds=minutes * 60, kinds=kinds or None)
        thanked = sum(verdict.thanked for verdict in outcome.verdicts)
        collected = sum(verdict.collected for verdict in outcome.verdicts)
        presses += outcome.presses
        faults += sum(outcome.faults.values())
        verdict = "[green]对 right[/green]" if not outcome.wrong else "[red]错 wrong[/red]"
        console.print(
            f"{seed:>9} {outcome.presses:>12} {thanked:>12} {collected:>14} {sum(outcome.faults.values()):>11}  {verdict}"
        )
        for text in outcome.wrong:
            console.print(f"        {text}", markup=False)
        if outcome.wrong:
            bad.append(seed)
    seconds = time.monotonic() - began
    console.print(f"{len(seeds)} 个世界 worlds, {presses} 次按键 presses, {faults} 个故障 faults, {seconds:.1f} s")
    if bad:
        console.print(f"[red]重现 to see one again: python -m simulator world --seeds {bad[0]}[/red]")
    return 1 if bad else 0
