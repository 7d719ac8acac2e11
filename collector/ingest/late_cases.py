"""Cases named after their rating: the first that a window names for a record is stored, another one becomes evidence.

A device that was moved brings its records through two windows; only what the window of the record says goes with it, so the other
one takes nothing from it.

Whether it goes with the record is seen when somebody reads (store/late_cases), for the record may come later. Called by ingest/core
inside the batch's transaction; pure over the store.
"""

from __future__ import annotations

import sqlalchemy as sa

from collector.ingest.evidence import KEPT_BYTES, Evidence, EvidenceKind
from collector.store import late_cases
from protocol.payloads import LateCase, LateCaseKept
from protocol.topics import Up, Window


def take_case(connection: sa.Connection, window: Window, said: LateCase, now_ms: int) -> tuple[LateCaseKept, Evidence | None]:
    """Store a late case; return what to answer, and evidence when another one was stored before."""
    stored = late_cases.stored(connection, window, said.device, said.seq)
    if stored is None:
        late_cases.insert(connection, window, said, now_ms)
        is_first = True
    else:
        is_first = stored == (bytes.fromhex(said.record_mac), said.case.to_json().decode())
    answer = LateCaseKept(device=said.device, seq=said.seq, is_first=is_first)
    if is_first:
        return answer, None
    text = f"record {said.seq} has another late case already"
    payload = said.to_json()[:KEPT_BYTES]
    return answer, Evidence(EvidenceKind.LATE_CASE, window.up(Up.CASE), window, said.device, said.seq, text, payload)
