"""The report of a run of worlds: one HTML file that shows everything and needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator import report
from simulator.world.faults import COUNTED, FAULTS
from simulator.world.runs import Summary, Wish


@dataclass(frozen=True, slots=True)
class Totals:
    """The sum of many worlds."""

    worlds: int
    presses: int
    thanked: int
    collected: int
    refused: int
    lost: int
    doubled: int
    altered: int
    faults: Counter[str]
    virtual_s: float
    recovery_s: float
    cpu_s: float

    @classmethod
    def of(cls, worlds: Sequence[Summary]) -> Totals:
        """Add worlds up; of recoveries the longest."""
        faults: Counter[str] = Counter()
        for world in worlds:
            faults.update(world.faults)
        return cls(
            worlds=len(worlds),
            presses=sum(world.presses for world in worlds),
            thanked=sum(world.thanked for world in worlds),
            collected=sum(world.collected for world in worlds),
            refused=sum(world.refused for world in worlds),
            lost=sum(world.lost for world in worlds),
            doubled=sum(world.doubled for world in worlds),
            altered=sum(world.altered for world in worlds),
            faults=faults,
            virtual_s=sum(world.virtual_s for world in worlds),
            recovery_s=max((world.recovery_s for world in worlds), default=0.0),
            cpu_s=sum(world.cpu_s for world in worlds),
        )


def write_report(path: Path, wish: Wish, worlds: Sequence[Summary], command: str, traces: dict[int, str]) -> None:
    """Write the page; `traces` are those of failing seeds, as text."""
    totals = Totals.of(worlds)
    chinese = {name: fault.chinese for name, fault in FAULTS.items()} | COUNTED
    report.write_report(
        path,
        "world.html",
        wish=wish,
        worlds=worlds,
        totals=totals,
        found=totals,
        bad=[world for world in worlds if world.wrong],
        faults=[(chinese.get(name, name), name, count, "") for name, count in totals.faults.most_common()],
        most=max(totals.faults.values(), default=1),
        command=command,
        traces=traces,
    )
