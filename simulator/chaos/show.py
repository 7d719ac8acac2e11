"""What a run of chaos looks like: a table in the terminal, and a report as one HTML file that needs nothing else."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulator import report
from simulator.chaos.hall import Hall
from simulator.chaos.plan import KINDS
from simulator.chaos.run import Interrupted, Outcome, Run, Wish

INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM)


def show(wish: Wish, page: Path | None, before_judging: Callable[[Hall], None] | None = None) -> int:
    """Run, print the table, and return the exit code: 0 only if everything is right. Logs of a failure are kept.

    `before_judging` lets a test spoil the collection, to see that it is noticed.
    """
    console = Console(highlight=False)
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda _number, _frame: stopping.set()) for number in ENDING}
    folder = Path(tempfile.mkdtemp(prefix="haochaping-chaos-"))
    folder.chmod(0o711)  # a database server has a user of its own, which has to pass through
    run = Run(wish, folder, lambda text: console.print(f"  {text}", soft_wrap=True), stopping, before_judging)
    console.print(command(wish), soft_wrap=True)
    is_right = False
    try:
        outcome = run.run()
        is_right = not outcome.findings.wrong
        print_outcome(console, outcome)
    except Interrupted:
        console.print("已中止 interrupted")
        is_right = True
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if is_right:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"日志保留 logs are kept: {folder}", soft_wrap=True)
    if page is not None:
        write_report(page, wish, outcome)
        console.print(f"报告 report: {page}", soft_wrap=True)
    return 0 if is_right else 1


def command(wish: Wish) -> str:
    """Return the command that does it again."""
    kinds = f' --faults "{",".join(wish.kinds)}"' if wish.kinds else ""
    return (
        f"python -m simulator chaos --minutes {wish.seconds / 60:g} --seed {wish.seed} --broker {wish.broker}"
        f" --store {wish.store} --windows {wish.windows}{kinds}"
    )


def rows(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the figures, each with its name."""
    found = outcome.findings
    return [
        ("按键 presses", f"{found.presses}"),
        ("致谢 thanked", f"{found.thanked}"),
        ("归集 collected", f"{found.collected}"),
        ("拒绝 refused", f"{outcome.refused}"),
        ("断电等无应答 not answered: no power, or in the middle of a press", f"{outcome.unanswered}"),
        ("故障 faults", f"{outcome.faults.total()}"),
        ("轮次 rounds", f"{outcome.rounds}"),
        ("最慢恢复 slowest recovery after everything was put right", f"{outcome.recovery_s:.0f} s"),
        ("自行退出后被重启 ended by themselves and started again", f"{outcome.ended_by_themselves}"),
        ("用时 time", f"{outcome.wall_s:.0f} s"),
    ]


def fault_rows(outcome: Outcome) -> list[tuple[str, str, int, str]]:
    """Return each kind of fault: Chinese, English, how often, and why not when it cannot be had here."""
    return [
        (kind.chinese, kind.name, outcome.faults[kind.name], outcome.impossible.get(kind.name, ""))
        for kind in KINDS
        if kind.name in outcome.faults or kind.name in outcome.impossible
    ]


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Print the table, and everything that is wrong."""
    table = Table(show_header=False, title="真实进程 real processes", title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, figure in rows(outcome):
        table.add_row(name, figure)
    table.add_section()
    for chinese, english, count, why_not in fault_rows(outcome):
        table.add_row(f"{chinese} {english}", f"跳过 skipped: {why_not}" if why_not else str(count))
    console.print(table)
    found = outcome.findings
    for text in found.wrong:
        console.print(f"    {text}", markup=False, soft_wrap=True)
    style, verdict = ("red", "错 wrong") if found.wrong else ("green", "对 right")
    console.print(
        f"[{style}]丢失 lost {found.lost} · 重复 doubled {found.doubled} · 被改 altered {found.altered} · {verdict}[/{style}]"
    )


def write_report(path: Path, wish: Wish, outcome: Outcome) -> None:
    """Write the page."""
    report.write_report(
        path,
        "chaos.html",
        wish=wish,
        found=outcome.findings,
        rows=rows(outcome),
        faults=fault_rows(outcome),
        most=max(outcome.faults.values(), default=1),
        command=f"{command(wish)} · {sys.platform}",
    )
