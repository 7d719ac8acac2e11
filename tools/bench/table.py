"""A row of the table, its goal, and how the table is shown and kept.

A ratio is always ours divided by the floor: for times at most so much, for rates at least so much. A goal without a floor is
about the figure itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of the ratio, or, where there is no floor, of the figure."""

    at_most: float | None = None
    at_least: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the bound."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing; `floor` is in the same unit and was measured in the same run."""

    name: str
    what: str
    figure: float
    unit: str
    floor: float | None = None
    floor_what: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the floor."""
        return self.figure / self.floor if self.floor else None

    @property
    def is_met(self) -> bool | None:
        """Tell whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.goal.holds(self.figure if self.ratio is None else self.ratio)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that could not be measured here, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: `quick` is for seeing that it works, its figures are rough."""

    quick: bool

    def of(self, full: int, quick: int) -> int:
        """Return the one or the other."""
        return quick if self.quick else full


Rows = Callable[[Effort], Sequence[Row | Skipped]]


def show(console: Console, found: Sequence[Row | Skipped]) -> None:
    """Print the table."""
    table = Table(title="速度 Speed")
    for title in ("what", "figure", "floor", "ratio", "goal", "met"):
        table.add_column(title, justify="left" if title in ("what", "floor") else "right", overflow="fold")
    for row in found:
        if isinstance(row, Skipped):
            table.add_row(row.name, "-", f"skipped: {row.why}", "", "", "")
            continue
        floor = "" if row.floor is None else f"{number(row.floor)} {row.unit}: {row.floor_what}"
        met = {None: "", True: "[green]met[/green]", False: "[red]not met[/red]"}[row.is_met]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        what = f"{row.what} ({row.note})" if row.note else row.what
        table.add_row(what, f"{number(row.figure)} {row.unit}", floor, ratio, str(row.goal or ""), met)
    console.print(table)


def save(path: Path, found: Sequence[Row | Skipped], quick: bool) -> None:
    """Write everything as JSON."""
    rows = []
    for row in found:
        if isinstance(row, Skipped):
            rows.append({"name": row.name, "skipped": row.why})
        else:
            rows.append(asdict(row) | {"ratio": row.ratio, "met": row.is_met})
    path.write_text(json.dumps({"quick": quick, "rows": rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def number(value: float) -> str:
    """Return three significant digits, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
