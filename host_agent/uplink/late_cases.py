"""Late cases on their way to the collection: sent when connected, again every minute until the collection says that it has them.

They are few: MOST_AT_ONCE go out in one step of the publisher, which drives this, and the next ones in its next step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from host_agent.instant import Instant
from host_agent.store.late_cases import LateCaseStore
from protocol.errors import PayloadError
from protocol.payloads import LateCase, LateCaseKept

log = logging.getLogger("agent.uplink")

MOST_AT_ONCE = 20
AGAIN_EVERY_S = 60.0


class LateCases:
    """Sends what waits; `publish` hands a payload to the broker."""

    def __init__(self, store: LateCaseStore) -> None:
        self._store = store
        self._sent_to = 0
        """Up to which row they have been sent since the last round began."""
        self._seen_puts = -1
        self._again_s = 0.0

    def connected(self) -> None:
        """Begin anew: whatever was on the way may be lost."""
        self._sent_to = 0
        self._seen_puts = -1

    def step(self, publish: Callable[[bytes], object], now: Instant) -> None:
        """Send what is due."""
        if now.mono_s >= self._again_s:
            self._again_s = now.mono_s + AGAIN_EVERY_S
            self.connected()
        if self._store.puts == self._seen_puts:
            return
        waiting = self._store.waiting(self._sent_to, MOST_AT_ONCE)
        for one in waiting:
            said = LateCase(
                device=one.device,
                seq=one.seq,
                record_mac=one.mac.hex(),
                case=one.case,
                staff=one.staff,
                named_at_ms=one.named_ms,
            )
            publish(said.to_json())
            self._sent_to = one.id
        if len(waiting) < MOST_AT_ONCE:
            self._seen_puts = self._store.puts

    def received(self, payload: bytes) -> bool:
        """Take the collection's answer; False when it is none."""
        try:
            word = LateCaseKept.from_json(payload)
        except PayloadError as error:
            log.warning("what came as an answer to a late case is none (%s); check what else publishes there", error)
            return False
        if self._store.answered(word.device, word.seq, is_kept=word.is_first) and not word.is_first:
            log.error(
                "评价 %s/%d 已补登另一办件，以先到的为准 another case was named for this rating before, and that one counts",
                word.device,
                word.seq,
            )
        return True
