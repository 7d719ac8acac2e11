"""What is sent beside records and answered one by one: sent when connected, again every minute until the collection answers.

The store is the truth: what it says is waiting is sent, and whatever changes it raises `puts`. They are few: MOST_AT_ONCE go out in
one step of the publisher, which drives this, and the next ones in its next step. Called by late_cases and absences, each of which
knows how to write its own and what an answer to it means.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from host_agent.instant import Instant

MOST_AT_ONCE = 20
AGAIN_EVERY_S = 60.0


class Waiting(Protocol):
    """Something that the collection has not confirmed."""

    @property
    def number(self) -> int:
        """Its place in the store, which no other one ever has."""


One = TypeVar("One", bound=Waiting)
OneOf = TypeVar("OneOf", bound=Waiting, covariant=True)


class Store(Protocol[OneOf]):
    """Where they wait."""

    @property
    def puts(self) -> int:
        """Grows whenever there is something new to send."""

    def waiting(self, after: int, limit: int) -> Sequence[OneOf]:
        """Return what the collection has not confirmed, oldest first."""


class Repeated(Generic[One]):
    """Sends what waits in `store`, as `write` makes it; one whose `version` is another by now is sent at once."""

    def __init__(
        self, store: Store[One], write: Callable[[One], bytes], version: Callable[[One], Hashable] = lambda _one: None
    ) -> None:
        self._waiting = store
        self._write = write
        self._version = version
        self._sent: set[tuple[int, Hashable]] = set()
        """Which have been sent since the last round began, in which version."""
        self._after: int | None = 0
        """Up to which one this pass through the store has come; None when it has been through all."""
        self._seen_puts = -1
        self._again_s = 0.0

    def connected(self) -> None:
        """Begin anew: whatever was on the way may be lost."""
        self._sent.clear()
        self._after = 0

    def step(self, publish: Callable[[bytes], object], now: Instant) -> None:
        """Send what is due; `publish` hands a payload to the broker."""
        if now.mono_s >= self._again_s:
            self._again_s = now.mono_s + AGAIN_EVERY_S
            self.connected()
        if self._waiting.puts != self._seen_puts:
            self._seen_puts, self._after = self._waiting.puts, 0  # an old one may have changed
        if self._after is None:
            return
        waiting = self._waiting.waiting(self._after, MOST_AT_ONCE)
        for one in waiting:
            this = one.number, self._version(one)
            if this not in self._sent:
                self._sent.add(this)
                publish(self._write(one))
        self._after = waiting[-1].number if len(waiting) == MOST_AT_ONCE else None
