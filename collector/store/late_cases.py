"""Queries about cases named after their rating: storing them, and finding the one that goes with a rating.

`insert` and `stored` take the connection of the one open write transaction, `cases_of` any. Called by ingest/late_cases and
store/ratings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from collector.store.prepared import Prepared
from collector.store.tables import late_cases, records
from protocol.payloads import LateCase
from protocol.topics import Window

_L, _R = late_cases.c, records.c
_CHUNK = 400
MOST_CHANGES = 20
"""Changes of mind that are followed back; a device takes no more within its three seconds."""


def stored(connection: sa.Connection, window: Window, device: str, seq: int) -> tuple[bytes, str] | None:
    """Return MAC and case that a window has named for a record."""
    row = _STORED.row(connection, device=device, seq=seq, area=window.area, hall=window.hall, window=window.window)
    return None if row is None else (bytes(row[0]), row[1])


_STORED = Prepared(
    sa.select(_L.mac, _L.case_json).where(
        *(column == sa.bindparam(column.name) for column in (_L.device, _L.seq, _L.area, _L.hall, _L.window))
    )
)


def insert(connection: sa.Connection, window: Window, said: LateCase, now_ms: int) -> None:
    """Store one."""
    _INSERT.run(
        connection,
        device=said.device,
        seq=said.seq,
        mac=bytes.fromhex(said.record_mac),
        area=window.area,
        hall=window.hall,
        window=window.window,
        case_json=said.case.to_json().decode(),
        staff=said.staff,
        named_ms=said.named_at_ms,
        received_ms=now_ms,
    )


_INSERT = Prepared(sa.insert(late_cases), late_cases.c.keys())


def cases_of(connection: sa.Connection, rows: Iterable[Mapping[Any, Any]]) -> dict[tuple[str, int], str]:
    """Return the late cases of these records by (device, seq), as JSON.

    Only ratings that are bound to no case can have one. One that replaces another has the case of that.
    """
    found: dict[tuple[str, int], str] = {}
    asked = {(row["device"], row["seq"]): (row["device"], row["seq"]) for row in rows if _may_have_one(row)}
    for _ in range(MOST_CHANGES):
        if not asked:
            break
        wanted = sorted(set(asked.values()))
        cases, before = _direct(connection, wanted), _replaced(connection, wanted)
        found |= {key: cases[at] for key, at in asked.items() if at in cases}
        asked = {key: before[at] for key, at in asked.items() if at not in cases and at in before}
    return found


def _may_have_one(row: Mapping[Any, Any]) -> bool:
    return row["kind"] == "rating" and row["case_json"] is None and row["context_digest"] is None


def _direct(connection: sa.Connection, wanted: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Return the late cases that were named for these records themselves."""
    same = sa.and_(
        _L.device == _R.device, _L.seq == _R.seq, _L.mac == _R.mac,
        _L.area == _R.area, _L.hall == _R.hall, _L.window == _R.window,
    )  # fmt: skip  # one line for each thought would be six lines
    query = sa.select(_L.device, _L.seq, _L.case_json).join(records, same)
    return {(device, seq): case for device, seq, case in _rows(connection, query, wanted)}


def _replaced(connection: sa.Connection, wanted: list[tuple[str, int]]) -> dict[tuple[str, int], tuple[str, int]]:
    """Return what each of these records replaces."""
    query = sa.select(_R.device, _R.seq, _R.revises).where(_R.revises.is_not(None))
    return {(device, seq): (device, revises) for device, seq, revises in _rows(connection, query, wanted)}


def _rows(connection: sa.Connection, query: sa.Select[Any], wanted: list[tuple[str, int]]) -> Iterable[Any]:
    for at in range(0, len(wanted), _CHUNK):
        yield from connection.execute(query.where(sa.tuple_(_R.device, _R.seq).in_(wanted[at : at + _CHUNK])))
