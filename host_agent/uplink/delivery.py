"""Which records are on their way, and when something has to be sent again (pure).

At most `window` records are published without a PUBACK. A PUBACK that does not come within 30 s of a standing connection means
that the connection is not what it says it is: it is replaced. A record that was sent and gets no receipt is sent again, at
first after a minute, then less and less often while the collector stays away. Whatever happens, a record leaves only by
its receipt.

Waiting is measured in running time: the milliseconds that this installation's agent has run, continued over restarts. A PC's
clock that is set back by a day would keep records waiting for a day, one set forward would send all of them at once.
"""

from __future__ import annotations

from host_agent.instant import Instant

PUBACK_WITHIN_S = 30.0
RECEIPT_FIRST_S = 60.0
RECEIPT_MOST_S = 3600.0
CHECK_EVERY_S = 5.0


class Delivery:
    """Keeps the records in flight by the number that the MQTT client gave each; `ran_ms` is the running time so far."""

    def __init__(self, window: int, now: Instant, ran_ms: int = 0) -> None:
        self._window = window
        self._began_s = now.mono_s
        self._ran_ms = ran_ms
        self._in_flight: dict[int, tuple[int, float]] = {}
        self._ids: set[int] = set()
        self._check_s = now.mono_s
        self.after_id = 0
        """Rows up to this one have been handed to this connection."""
        self.receipt_wait_s = RECEIPT_FIRST_S
        self._again_s = 0.0

    @property
    def room(self) -> int:
        """How many more records may be published now."""
        return self._window - len(self._in_flight)

    def run_ms(self, now: Instant) -> int:
        """Return the running time."""
        return self._ran_ms + int((now.mono_s - self._began_s) * 1000)

    def is_in_flight(self, row_id: int) -> bool:
        """Tell whether a row has been published and not acknowledged."""
        return row_id in self._ids

    def published(self, row_id: int, number: int, now: Instant) -> None:
        """Note that a row was handed to the client as message `number`."""
        self._in_flight[number] = (row_id, now.mono_s)
        self._ids.add(row_id)
        self.after_id = max(self.after_id, row_id)

    def acknowledged(self, number: int) -> int | None:
        """Return the row that a PUBACK is about, or None for a message that was no record."""
        row_id, _ = self._in_flight.pop(number, (None, 0.0))
        if row_id is not None:
            self._ids.discard(row_id)
        return row_id

    def connected(self, now: Instant) -> None:
        """Note that the client is connected again: it repeats what is in flight, whose time begins anew."""
        self._in_flight = {number: (row_id, now.mono_s) for number, (row_id, _) in self._in_flight.items()}

    def is_stuck(self, now: Instant) -> bool:
        """Tell whether a PUBACK has been due for too long."""
        oldest = next(iter(self._in_flight.values()), None)
        return oldest is not None and now.mono_s - oldest[1] > PUBACK_WITHIN_S

    def forget(self) -> None:
        """Start over with a new client: what was in flight is sent again."""
        self._in_flight.clear()
        self._ids.clear()
        self.after_id = 0

    def overdue_before_ms(self, now: Instant) -> int | None:
        """Return the running time before which an unreceipted record was sent too long ago; None while nothing is due.

        Everything that has waited for a minute goes together: which of it the collector misses is not known here.
        """
        if now.mono_s < max(self._check_s, self._again_s):
            return None
        self._check_s = now.mono_s + CHECK_EVERY_S
        return self.run_ms(now) - int(RECEIPT_FIRST_S * 1000)

    def sent_again(self, now: Instant) -> None:
        """Note that overdue records were put back: wait longer before the next time."""
        self.after_id = 0
        self._again_s = now.mono_s + self.receipt_wait_s
        self.receipt_wait_s = min(2 * self.receipt_wait_s, RECEIPT_MOST_S)

    def receipted(self) -> None:
        """Note that the collector has spoken."""
        self.receipt_wait_s = RECEIPT_FIRST_S
        self._again_s = 0.0

    def deadline_s(self) -> float:
        """Return the monotonic time by which the next check is due."""
        return max(self._check_s, self._again_s)
