"""Virtual time: things happen in the order of their times, and in the order of their making where times are equal."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from host_agent.instant import Instant

EPOCH_MS = 1_790_000_000_000


class Scheduler:
    """Runs what was put down for a time; `now_s` moves only here."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.happened = 0
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        """Have `what` happen after a delay."""
        heapq.heappush(self._due, (self.now_s + max(0.0, delay_s), next(self._order), what))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, what = heapq.heappop(self._due)
            self.happened += 1
            what()
        self.now_s = end_s

    def utc_ms(self) -> int:
        """Return what a right clock says, milliseconds since 1970 UTC."""
        return EPOCH_MS + int(self.now_s * 1000)


class WallClock:
    """The clock of one computer: what it counts is right, what it says can be wrong."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._wrong_by_ms = 0
        self.was_set = False

    @property
    def wrong_by_ms(self) -> int:
        """How far what it says is off."""
        return self._wrong_by_ms

    @wrong_by_ms.setter
    def wrong_by_ms(self, by_ms: int) -> None:
        self.was_set |= by_ms != self._wrong_by_ms
        self._wrong_by_ms = by_ms

    def __call__(self) -> Instant:
        """Read both clocks."""
        return Instant(self._scheduler.now_s, max(0, self._scheduler.utc_ms() + self.wrong_by_ms))
