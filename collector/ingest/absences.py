"""Absences that windows tell of: each is stored once, with its end when that is told, and an end stays as it was told first.

An absence is told when it begins and again when it is over, both in any order and any number of times. Who says something else of
one that is stored is answered that something else counts, and what was said becomes evidence. Called by ingest/core inside the
batch's transaction; pure over the store.
"""

from __future__ import annotations

import sqlalchemy as sa

from collector.ingest.evidence import KEPT_BYTES, Evidence, EvidenceKind
from collector.store import absences
from protocol.payloads import Absence, AbsenceKept
from protocol.topics import Up, Window


def take_absence(connection: sa.Connection, window: Window, said: Absence, now_ms: int) -> tuple[AbsenceKept, Evidence | None]:
    """Store an absence, or its end; return what to answer, and evidence when it contradicts what was said before."""
    stored = absences.stored(connection, window, said.id)
    if stored is None:
        absences.insert(connection, window, said, now_ms)
        return AbsenceKept(id=said.id, is_over=said.end_ms is not None, is_first=True), None
    is_same = stored.begins_as(said)
    if is_same and stored.end_ms is None and said.end_ms is not None:
        absences.end(connection, window, said, now_ms)
        return AbsenceKept(id=said.id, is_over=True, is_first=True), None
    is_same = is_same and (said.end_ms is None or stored.ends_as(said))
    answer = AbsenceKept(id=said.id, is_over=stored.end_ms is not None, is_first=is_same)
    if is_same:
        return answer, None
    text = f"something else was said of absence {said.id} before"
    payload = said.to_json()[:KEPT_BYTES]
    return answer, Evidence(EvidenceKind.ABSENCE, window.up(Up.ABSENCE), window, said.device, None, text, payload)
