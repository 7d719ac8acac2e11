"""What a press means: the evaluation from opened to rated, expired or cancelled.

Deciding and happening are two steps. `judge` says what a press would be; only when the journal has made that durable does
the device call `rated` or `extra`. So a refused record leaves the session as it was. One rating per evaluation; a change of
mind is possible for a short while; what comes later is extra and never counts.
"""

from . import ticks, wire

NOBODY = bytes(16)
EXTRAS_KEPT = 5  # per rating: a child on the buttons must not fill the flash


class Session:
    """The state of one counter; every method takes the time it happens at."""

    def __init__(self, change_ms: int, rest_ms: int) -> None:
        self._change_ms = change_ms
        self._rest_ms = rest_ms
        self.state = wire.STATE_IDLE
        self.evaluation = NOBODY
        self.digest = NOBODY
        self.ended = NOBODY
        """The evaluation that ended last, so that a repeated request is recognised."""
        self._since = 0
        self._timeout_ms = 0
        self._opened_at = 0
        self._overdue = False
        self._rating_seq = 0
        self._rating_level = 0
        self._extras = 0

    def open(self, now: int, evaluation: bytes, digest: bytes, timeout_ms: int) -> None:
        """Begin an evaluation; whatever was before is over."""
        self._end()
        self.state = wire.STATE_OPENED
        self.evaluation = evaluation
        self.digest = digest
        self._timeout_ms = timeout_ms
        self._overdue = False
        self._since = self._opened_at = now

    def knows(self, evaluation: bytes) -> bool:
        """Tell whether this is the evaluation at hand or the one before: a repeated request."""
        return evaluation in (self.evaluation, self.ended)

    def open_ms(self, now: int) -> int:
        """Return how long ago the evaluation at hand was opened, 0 without one."""
        if self.evaluation == NOBODY:
            return 0
        passed_ms = ticks.diff(now, self._opened_at)
        return max(passed_ms, self._timeout_ms) if self._overdue else passed_ms

    def is_overdue(self, now: int) -> bool:
        """Tell whether the open evaluation has run out of time."""
        if self.state != wire.STATE_OPENED:
            return False
        if not self._overdue:  # once is enough: without room for its record it may stay so until ticks wrap
            self._overdue = ticks.diff(now, self._since) >= self._timeout_ms
        return self._overdue

    def close(self) -> None:
        """End the evaluation without a rating (expired or cancelled, as recorded)."""
        self._end()

    def judge(self, level: int) -> tuple[int, int, int]:
        """Return (kind, flags, refers_to) that a press of `level` now would be; kind 0: not even worth a record."""
        if self.state == wire.STATE_OPENED:
            return wire.KIND_RATING, 0, 0
        if self.state == wire.STATE_IDLE:
            return wire.KIND_RATING, wire.FLAG_FREE_STANDING, 0
        free_standing = wire.FLAG_FREE_STANDING if self.evaluation == NOBODY else 0
        if self.state == wire.STATE_CHANGEABLE and level != self._rating_level:
            return wire.KIND_RATING, wire.FLAG_REVISION | free_standing, self._rating_seq
        if self._extras >= EXTRAS_KEPT:
            return 0, 0, 0
        return wire.KIND_EXTRA, free_standing, self._rating_seq

    def rated(self, now: int, level: int, seq: int) -> None:
        """Note that a rating is durable as record `seq`."""
        if self.state in (wire.STATE_IDLE, wire.STATE_OPENED):
            self._since = now  # a change of mind does not prolong the time for changes
            self._extras = 0
            self.state = wire.STATE_CHANGEABLE
        self._rating_seq = seq
        self._rating_level = level

    def extra(self) -> None:
        """Note that an extra press is durable."""
        self._extras += 1

    def step(self, now: int) -> None:
        """Let time pass: changeable becomes resting becomes idle. Expiry is the device's, for it needs a record."""
        if self.state == wire.STATE_CHANGEABLE and ticks.diff(now, self._since) >= self._change_ms:
            self.state = wire.STATE_RESTING
        if self.state == wire.STATE_RESTING and ticks.diff(now, self._since) >= self._rest_ms:
            self._end()

    def _end(self) -> None:
        if self.evaluation != NOBODY:
            self.ended = self.evaluation
        self.state = wire.STATE_IDLE
        self.evaluation = self.digest = NOBODY
        self._rating_seq = self._rating_level = 0
