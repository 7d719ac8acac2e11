"""What the agent tells those who listen at the local API: numbered notices, the latest kept for whoever was away (pure).

A notice says that something has changed at this window; never how a citizen rated. Numbers run without holes, so that a gap tells
nothing either. Everything here belongs to the agent's one thread; a listener's callable hands the notice on to wherever the
listener lives, and must not block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from host_agent.evaluations import Evaluation

KEPT = 256
MOST_LISTENERS = 32


@dataclass(frozen=True, slots=True)
class EvaluationChanged:
    """An evaluation was opened or has ended."""

    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class WindowChanged:
    """Who serves, whether the window serves, and which device is connected: as they are now."""

    staff: str | None
    paused: bool
    device: str | None


@dataclass(frozen=True, slots=True)
class FreeRatingGiven:
    """A citizen has rated without an evaluation; a case can be linked to it afterwards."""

    device: str
    seq: int
    at_ms: int | None
    """When, milliseconds since 1970 UTC by the PC's clock; None when nobody knows."""
    staff: str | None


Notice = EvaluationChanged | WindowChanged | FreeRatingGiven


@dataclass(frozen=True, slots=True)
class Entry:
    """A notice with its number in this run of the agent."""

    number: int
    notice: Notice


Tell = Callable[[Entry], None]


class Notices:
    """The notices of one run of the agent."""

    def __init__(self) -> None:
        self._kept: deque[Entry] = deque(maxlen=KEPT)
        self._number = 0
        self._listeners: list[Tell] = []

    @property
    def number(self) -> int:
        """The number of the latest notice, 0 before the first."""
        return self._number

    def say(self, notice: Notice) -> None:
        """Tell everybody."""
        self._number += 1
        entry = Entry(self._number, notice)
        self._kept.append(entry)
        for tell in list(self._listeners):
            tell(entry)

    def since(self, number: int) -> list[Entry] | None:
        """Return what was said after notice `number`, None when not all of it is kept any more or it was never said."""
        if number > self._number or (number < self._number and self._kept[0].number > number + 1):
            return None
        return [entry for entry in self._kept if entry.number > number]

    def listen(self, tell: Tell) -> bool:
        """Have `tell` called for every notice from now on; False when there are too many listeners already."""
        if len(self._listeners) >= MOST_LISTENERS:
            return False
        self._listeners.append(tell)
        return True

    def leave(self, tell: Tell) -> None:
        """Stop telling this one."""
        if tell in self._listeners:
            self._listeners.remove(tell)
