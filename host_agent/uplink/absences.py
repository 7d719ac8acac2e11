"""Absences on their way to the collection: sent when connected, again every minute until the collection says that it has them.

One that lasts is sent when it begins and again when it is over. They are few: MOST_AT_ONCE go out in one step of the publisher,
which drives this, and the next ones in its next step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from host_agent.instant import Instant
from host_agent.store.absences import AbsenceStore, WaitingAbsence
from protocol.errors import PayloadError
from protocol.payloads import AbsenceKept

log = logging.getLogger("agent.uplink")

MOST_AT_ONCE = 20
AGAIN_EVERY_S = 60.0
_END = {"end_ms", "lasted_ms"}


class AbsenceReports:
    """Sends what waits; `publish` hands a payload to the broker."""

    def __init__(self, store: AbsenceStore) -> None:
        self._store = store
        self._sent: set[tuple[str, bool]] = set()
        """Which have been sent since the last round began, and whether as over."""
        self._after = 0
        self._seen_puts = -1
        self._again_s = 0.0

    def connected(self) -> None:
        """Begin anew: whatever was on the way may be lost."""
        self._sent.clear()
        self._after = 0
        self._seen_puts = -1

    def step(self, publish: Callable[[bytes], object], now: Instant) -> None:
        """Send what is due."""
        if now.mono_s >= self._again_s:
            self._again_s = now.mono_s + AGAIN_EVERY_S
            self.connected()
        if self._store.puts != self._seen_puts:
            self._seen_puts, self._after = self._store.puts, 0  # an old one may be over now
        elif self._after < 0:
            return
        waiting = self._store.waiting(self._after, MOST_AT_ONCE)
        for one in waiting:
            if (one.said.id, one.is_over) not in self._sent:
                self._sent.add((one.said.id, one.is_over))
                publish(_payload(one))
        self._after = waiting[-1].number if len(waiting) == MOST_AT_ONCE else -1

    def received(self, payload: bytes) -> None:
        """Take the collection's answer."""
        try:
            word = AbsenceKept.from_json(payload)
        except PayloadError as error:
            log.warning("what came as an answer to an absence is none (%s); check what else publishes there", error)
            return
        is_news = self._store.answered(word.id, is_over=word.is_over, is_first=word.is_first)
        if is_news and not word.is_first:
            log.error(
                "归集端已有同一离岗记录的另一说法，以先到的为准；本机数据库是否还原过旧镜像？ something else was said of an absence "
                "before, and that counts; was this database set back to an earlier one?"
            )


def _payload(one: WaitingAbsence) -> bytes:
    """Return the message; of one that lasts, what is stored as its end is only how far it was seen."""
    said = one.said if one.is_over else one.said.model_copy(update={**dict.fromkeys(_END), "measured": False})
    return said.to_json()
