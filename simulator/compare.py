"""What citizens saw at the lamps against what was collected: the comparison that world and chaos end with.

Pure. Who presses, who collects and how both are read is theirs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Seen(NamedTuple):
    """One press: when (seconds), what a record of it must say, and whether the citizen was thanked."""

    at_s: float
    says: Hashable
    is_thanked: bool


@dataclass(slots=True)
class Findings:
    """What an oracle found; empty `wrong` is right."""

    presses: int = 0
    thanked: int = 0
    collected: int = 0
    lost: int = 0
    doubled: int = 0
    altered: int = 0
    wrong: list[str] = field(default_factory=list)

    def compare(self, device: str, seen: Sequence[Seen], collected: Sequence[Hashable]) -> bool:
        """Count one device's presses and records (in the order of their numbers); tell whether they fit."""
        thanked = sum(press.is_thanked for press in seen)
        self.presses += len(seen)
        self.thanked += thanked
        self.collected += len(collected)
        mismatch = first_mismatch(seen, collected)
        if mismatch:
            self.lost += max(0, thanked - len(collected))
            self.doubled += max(0, len(collected) - len(seen))
            self.altered += thanked <= len(collected) <= len(seen)
            self.wrong.append(f"{device}: {mismatch}")
        return not mismatch


def first_mismatch(seen: Sequence[Seen], collected: Sequence[Hashable]) -> str:
    """Return where the two part, walking both; empty when they fit.

    A press without thanks may have been recorded or not: the power went in that very moment. A press with thanks must be there.
    """
    reachable = {0}  # how many records can be explained by the presses so far
    for number, press in enumerate(seen):
        after = {at + 1 for at in reachable if at < len(collected) and collected[at] == press.says}
        if not press.is_thanked:
            after |= reachable
        if not after:
            near = max(reachable)
            return (
                f"press {number + 1} of {len(seen)}, at {press.at_s:.2f} s, rated {press.says}, is not collected;"
                f" at its place is {list(collected[near : near + 3])} of {len(collected)}"
            )
        reachable = after
    return "" if len(collected) in reachable else f"{len(collected)} collected, {max(reachable)} pressed"
