"""What a run of worlds looks like in the terminal: a line for each seed, what is wrong in full, and how to see it again."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console

from simulator.world.hall import Outcome, run
from simulator.world.plan import Plan
from simulator.world.report import Totals, write_report
from simulator.world.runs import Summary, Wish, run_seeds, summary
from simulator.world.shrink import shrink

TRACE_SHOWN = 60
COLUMNS = (
    ("种子 seed", 11),
    ("按键 presses", 12),
    ("致谢 thanked", 12),
    ("归集 collected", 14),
    ("故障 faults", 11),
    ("恢复 recovery", 13),
)
MOST_TRACED = 3
"""So many failing seeds are made smaller and traced; one is usually enough to see why."""


def show_seeds(wish: Wish, seeds: Sequence[int], jobs: int | None, report: Path | None, shrink_s: float) -> int:
    """Run the worlds of these seeds; return the exit code, 0 only if nothing is wrong in any."""
    console = Console(highlight=False, soft_wrap=True)
    began_s = time.monotonic()
    worlds: list[Summary] = []
    _head(console)
    for world in run_seeds(wish, seeds, jobs):
        worlds.append(world)
        _line(console, world)
    wall_s = time.monotonic() - began_s
    traces = {world.seed: _explain(console, wish.plan(world.seed), shrink_s) for world in _bad(worlds)[:MOST_TRACED]}
    _totals(console, worlds, wall_s)
    if report is not None:
        write_report(report, wish, worlds, wish.command(f"--seeds {_in_words(seeds)}"), traces)
        console.print(f"报告 report: {report}")
    return 1 if _bad(worlds) else 0


def show_plan(wish: Wish, plan: Plan, command: str, *, trace: bool, report: Path | None) -> int:
    """Run one world by its plan; with `trace` print everything that happens in it. `command` is what does it again."""
    console = Console(highlight=False, soft_wrap=True)
    logging.disable(logging.CRITICAL)
    began_s = time.process_time()
    outcome = run(plan, trace=trace)
    world = summary(plan.seed, outcome, time.process_time() - began_s)
    lines = [str(entry) for entry in outcome.trace]
    for line in lines:
        console.print(line, markup=False)
    _head(console)
    _line(console, world)
    if report is not None:
        write_report(
            report, replace(wish, windows=plan.windows), [world], command, {plan.seed: "\n".join(lines)} if trace else {}
        )
        console.print(f"报告 report: {report}")
    return 1 if world.wrong else 0


def _in_words(seeds: Sequence[int]) -> str:
    """Return seeds as the option takes them."""
    return f"{seeds[0]}..{seeds[-1]}" if isinstance(seeds, range) else ",".join(map(str, seeds))


def _head(console: Console) -> None:
    console.print("  ".join(_right(head, width) for head, width in COLUMNS))


def _right(text: str, width: int) -> str:
    """Set text at the right end of so many cells; a Chinese character takes two."""
    return " " * (width - cell_len(text)) + text


def _bad(worlds: Sequence[Summary]) -> list[Summary]:
    return [world for world in worlds if world.wrong]


def _line(console: Console, world: Summary) -> None:
    verdict = "[red]错 wrong[/red]" if world.wrong else "[green]对 right[/green]"
    figures = (world.seed, world.presses, world.thanked, world.collected, world.faults.total(), f"{world.recovery_s:.0f} s")
    cells = (_right(str(figure), width) for figure, (_, width) in zip(figures, COLUMNS, strict=True))
    console.print("  ".join(cells) + f"  {verdict}")
    for text in world.wrong:
        console.print(f"            {text}", markup=False)


def _explain(console: Console, plan: Plan, shrink_s: float) -> str:
    """Make a failing plan smaller, keep it as a file, and return its trace."""
    logging.disable(logging.CRITICAL)
    if shrink_s > 0:
        console.print(f"缩小种子 {plan.seed} making seed {plan.seed} smaller: {len(plan.happenings)} …")
        plan = shrink(plan, lambda smaller: bool(run(smaller).wrong), shrink_s)
    file = Path(f"world-{plan.seed}.json")
    file.write_text(plan.to_json(), encoding="utf-8")
    outcome: Outcome = run(plan, trace=True)
    lines = [str(entry) for entry in outcome.trace]
    console.print(f"还剩 {len(plan.happenings)} 件事 things that must happen; 末尾 the end of what happens:")
    for line in lines[-TRACE_SHOWN:]:
        console.print(f"    {line}", markup=False, soft_wrap=True)
    for text in outcome.wrong:
        console.print(f"    [red]{text}[/red]")
    console.print(f"重现 to see it again: python -m simulator world --plan {file} --trace")
    return "\n".join([*lines, "", *outcome.wrong])


def _totals(console: Console, worlds: Sequence[Summary], wall_s: float) -> None:
    totals, bad = Totals.of(worlds), len(_bad(worlds))
    count, cpu_s = totals.faults.total(), max(totals.cpu_s, 1e-9)
    console.print(
        f"{totals.worlds} 个世界 worlds · {totals.presses} 次按键 presses · {count} 个故障 faults"
        f" · 虚拟时间 virtual time {totals.virtual_s / 3600:.1f} h · {wall_s:.1f} s"
    )
    console.print(
        f"每核每秒 per second of one core: {totals.presses / cpu_s:.0f} 按键 presses, {count / cpu_s:.0f} 故障 faults"
    )
    style = "red" if bad or totals.lost or totals.doubled or totals.altered else "green"
    console.print(
        f"[{style}]丢失 lost {totals.lost} · 重复 doubled {totals.doubled} · 被改 altered {totals.altered}"
        f" · 最慢恢复 slowest recovery {totals.recovery_s:.0f} s · 有错的世界 worlds with something wrong {bad}[/{style}]"
    )
