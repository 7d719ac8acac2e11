"""Which port to try next, and when: finding the device and finding it again (pure).

With a configured port there is one candidate. Without, every port of the machine is asked for hello in turn, the one that worked
last first. A port that cannot be opened or does not answer costs its turn; after a round without success the next round
waits longer, up to 5 s. Being without a device is a state, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from host_agent.instant import Instant

ROUND_FIRST_S = 0.2
ROUND_MOST_S = 5.0
WAKE_EVERY_S = 1.0
LEAVE_ALONE_S = 30.0
"""How long a port is not asked again whose device is not this window's."""
ANSWER_WITHIN_S = 3.0
"""How long a port has for its answer to hello before the next one is tried."""


class Belongs(Enum):
    """Where a device belongs that answers on a port."""

    HERE = "here"
    BESIDE = "beside"
    """At another window of this PC."""
    NOWHERE = "nowhere"
    """At no window that this PC knows."""


class Search:
    """`next_port` says what to open now; `failed` and `found` tell how it went."""

    def __init__(self, configured: str | None) -> None:
        self._configured = configured
        self._round: list[str] = []
        self._last_good = configured
        self._wait_s = ROUND_FIRST_S
        self._has_answered = False
        self._not_before_s = 0.0
        self._woken_s = float("-inf")
        self._not_ours_until_s: dict[str, float] = {}
        self.needs_candidates = configured is None
        """True when the caller must list the machine's ports and hand them to `candidates`."""

    def candidates(self, ports: Sequence[str], now: Instant) -> None:
        """Take the list of ports for one round; a port that is gone may have another device when it is there again."""
        self._not_ours_until_s = {
            port: until_s for port, until_s in self._not_ours_until_s.items() if port in ports and now.mono_s < until_s
        }
        asked = [port for port in ports if port not in self._not_ours_until_s]
        self._round = sorted(asked, key=lambda port: (port != self._last_good, port))
        self.needs_candidates = False

    def not_ours(self, port: str, now: Instant) -> None:
        """Note that the device on `port` belongs to another window: it is left alone for a while."""
        self._not_ours_until_s[port] = now.mono_s + LEAVE_ALONE_S

    def wake(self, now: Instant) -> None:
        """Begin anew at once, for a port has come or gone; many tellings within WAKE_EVERY_S are one."""
        if now.mono_s >= self._woken_s + WAKE_EVERY_S:
            self._woken_s = now.mono_s
            self._not_ours_until_s.clear()
            self._not_before_s = now.mono_s
            self._wait_s = ROUND_FIRST_S
            self.needs_candidates = self._configured is None

    def next_port(self, now: Instant) -> str | None:
        """Return the port to open now, or None while there is nothing to try or it is too early."""
        if now.mono_s < self._not_before_s:
            return None
        if self._configured is not None:
            return self._configured
        return self._round[0] if self._round else None

    def deadline_s(self) -> float:
        """Return the monotonic time before which `next_port` has nothing to say."""
        return self._not_before_s

    def found(self, port: str) -> None:
        """Note that the device answered on `port`."""
        self._last_good = port
        self._has_answered = True
        self._wait_s = ROUND_FIRST_S

    def failed(self, now: Instant) -> None:
        """Note that the port at hand could not be opened, did not answer, or has gone."""
        if self._has_answered:
            self._has_answered = False
            self._round.clear()  # listed before the device was found, hours ago perhaps
        if self._round:
            self._round.pop(0)
        if not self._round:
            self._not_before_s = now.mono_s + self._wait_s
            self._wait_s = min(2 * self._wait_s, ROUND_MOST_S)
            self.needs_candidates = self._configured is None
