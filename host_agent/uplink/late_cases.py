"""Late cases on their way to the collection, each until the collection says that it has it, or another one."""

from __future__ import annotations

import logging

from host_agent.store.late_cases import LateCaseStore, WaitingCase
from host_agent.uplink.repeated import Repeated
from protocol.errors import PayloadError
from protocol.payloads import LateCase, LateCaseKept

log = logging.getLogger("agent.uplink")


class LateCases(Repeated[WaitingCase]):
    """Sends what waits and takes the answers."""

    def __init__(self, store: LateCaseStore) -> None:
        super().__init__(store, _payload)
        self._store = store

    def received(self, payload: bytes) -> None:
        """Take the collection's answer."""
        try:
            word = LateCaseKept.from_json(payload)
        except PayloadError as error:
            log.warning("what came as an answer to a late case is none (%s); check what else publishes there", error)
            return
        if self._store.answered(word.device, word.seq, is_kept=word.is_first) and not word.is_first:
            log.error(
                "评价 %s/%d 已补登另一办件，以先到的为准 another case was named for this rating before, and that one counts",
                word.device,
                word.seq,
            )


def _payload(one: WaitingCase) -> bytes:
    said = LateCase(
        device=one.device,
        seq=one.seq,
        record_mac=one.mac.hex(),
        case=one.case,
        staff=one.staff,
        named_at_ms=one.named_ms,
    )
    return said.to_json()
