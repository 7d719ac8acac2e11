"""Absences on their way to the collection, each until the collection says that it has it as it ended.

One that lasts is sent when it begins and again when it is over.
"""

from __future__ import annotations

import logging

from host_agent.store.absences import AbsenceStore, WaitingAbsence
from host_agent.uplink.repeated import Repeated
from protocol.errors import PayloadError
from protocol.payloads import AbsenceKept

log = logging.getLogger("agent.uplink")


class AbsenceReports(Repeated[WaitingAbsence]):
    """Sends what waits and takes the answers."""

    def __init__(self, store: AbsenceStore) -> None:
        super().__init__(store, _payload, version=lambda one: one.is_over)
        self._store = store

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
                "归集端已有同一缺席记录的另一说法，以先到的为准；本机数据库是否还原过旧镜像？ something else was said of an absence "
                "before, and that counts; was this database set back to an earlier one?"
            )


def _payload(one: WaitingAbsence) -> bytes:
    """Return the message; of one that lasts, what is stored as its end is only how far it was seen."""
    said = one.said if one.is_over else one.said.model_copy(update={"end_ms": None, "lasted_ms": None, "measured": False})
    return said.to_json()
