"""The writer's queries about records: what intake must know before it inserts, and what changes afterwards.

All take the connection of the one open write transaction. `floor` and `ceiling` are the bounds of a journal.
Called by ingest/intake only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.ingest.links import Link, Place, Span
from collector.store.prepared import Prepared
from collector.store.tables import IS_LOST, IS_REVISION, OPEN_LINK, records

_R = records.c
_PLACE = (_R.seq, _R.flags, _R.prev_mac, _R.mac)
_DEVICE = _R.device == sa.bindparam("device")
_CHUNK = 500
"""Numbers in one IN list; SQLite once allowed 999 parameters."""


@dataclass(frozen=True, slots=True)
class Held:
    """What of a stored record decides about a second one with its number."""

    raw: bytes
    case_matches: bool | None


def held(connection: sa.Connection, device: str, seqs: Sequence[int]) -> dict[int, Held]:
    """Return the stored records among these numbers (sorted, not empty)."""
    rows: list[Any] = []
    if seqs[-1] - seqs[0] < 4 * len(seqs):
        rows.extend(_HELD.rows(connection, device=device, first=seqs[0], last=seqs[-1]))
    else:
        wanted = sa.select(_R.seq, _R.raw, _R.case_matches).where(_R.device == device)
        for at in range(0, len(seqs), _CHUNK):
            rows.extend(connection.execute(wanted.where(_R.seq.in_(seqs[at : at + _CHUNK]))))
    return {seq: Held(bytes(raw), None if matches is None else bool(matches)) for seq, raw, matches in rows}


_HELD = Prepared(
    sa.select(_R.seq, _R.raw, _R.case_matches).where(_DEVICE, _R.seq.between(sa.bindparam("first"), sa.bindparam("last")))
)


def insert(connection: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert new rows, values in the table's order; what intake has checked cannot be there already: there is one writer."""
    _INSERT.run_many(connection, rows)


_INSERT = Prepared(sa.insert(records), records.c.keys())


def last_arrival(connection: sa.Connection) -> int:
    """Return the reading position of the newest row, 0 when there is none."""
    return _LAST_ARRIVAL.value(connection) or 0


_LAST_ARRIVAL = Prepared(sa.select(sa.func.max(_R.arrival)))


def last_seq(connection: sa.Connection, device: str) -> int:
    """Return the greatest stored number of a device, 0 when there is none."""
    return _LAST_SEQ.value(connection, device=device) or 0


_LAST_SEQ = Prepared(sa.select(sa.func.max(_R.seq)).where(_DEVICE))


def before(connection: sa.Connection, device: str, seq: int, floor: int) -> Place | None:
    """Return the stored neighbour with the greatest number below `seq`, not below `floor`."""
    row = _BEFORE.row(connection, device=device, seq=seq, floor=floor)
    return None if row is None else _place(row)


_BEFORE = Prepared(
    sa.select(*_PLACE)
    .where(_DEVICE, _R.seq < sa.bindparam("seq"), _R.seq >= sa.bindparam("floor"))
    .order_by(_R.seq.desc())
    .limit(1)
)


def after(connection: sa.Connection, device: str, seq: int, ceiling: int) -> tuple[Place, Link] | None:
    """Return the stored neighbour with the smallest number above `seq`, not above `ceiling`, and its link so far."""
    row = _AFTER.row(connection, device=device, seq=seq, ceiling=ceiling)
    return None if row is None else (_place(row), Link(row[4]))


_AFTER = Prepared(
    sa.select(*_PLACE, _R.link)
    .where(_DEVICE, _R.seq > sa.bindparam("seq"), _R.seq <= sa.bindparam("ceiling"))
    .order_by(_R.seq)
    .limit(1)
)


def open_links(connection: sa.Connection, device: str) -> list[tuple[Place, Link]]:
    """Return every record of a device before which something is missing or does not fit."""
    query = sa.select(*_PLACE, _R.link).where(_R.device == device, OPEN_LINK).order_by(_R.seq)
    return [(_place(row), Link(row[4])) for row in connection.execute(query)]


def lost_spans(connection: sa.Connection, device: str) -> list[Span]:
    """Return what the device has declared lost."""
    return [(first, first + count - 1) for first, count in _LOST.rows(connection, device=device) if count]


_LOST = Prepared(sa.select(_R.refers_to, _R.value).where(_DEVICE, IS_LOST))


def set_link(connection: sa.Connection, device: str, seq: int, link: Link) -> None:
    """Correct a stored record's link after its neighbourhood has changed."""
    _SET_LINK.run(connection, device=device, number=seq, link=link.value)


_SET_LINK = Prepared(
    sa.update(records).where(_DEVICE, _R.seq == sa.bindparam("number")).values(link=sa.bindparam("link")),
    [],
)


def set_case(connection: sa.Connection, device: str, seq: int, matches: bool, case_json: str | None) -> None:
    """Note a case that came later than its record."""
    connection.execute(
        sa.update(records).where(_R.device == device, _R.seq == seq).values(case_matches=matches, case_json=case_json)
    )


def revisions_of(connection: sa.Connection, device: str, targets: Iterable[int]) -> list[tuple[int, int]]:
    """Return (seq, revises) of the stored changes of mind that replace one of `targets`."""
    found: list[tuple[int, int]] = []
    numbers = sorted(targets)
    for at in range(0, len(numbers), _CHUNK):
        query = sa.select(_R.seq, _R.revises).where(_R.device == device, IS_REVISION, _R.revises.in_(numbers[at : at + _CHUNK]))
        found.extend((seq, revises) for seq, revises in connection.execute(query))
    return found


def replace_rating(connection: sa.Connection, device: str, target: int, by: int) -> None:
    """Let the rating `target`, and earlier changes of the same rating, count no longer; the latest change wins."""
    _REPLACE.run(connection, device=device, target=target, last=by - 1, by=by)


_SAME_RATING = sa.or_(_R.seq == sa.bindparam("target"), sa.and_(IS_REVISION, _R.revises == sa.bindparam("target")))
_REPLACE = Prepared(
    sa.update(records)
    .where(_DEVICE, _R.seq.between(sa.bindparam("target"), sa.bindparam("last")), _R.kind == sa.literal_column("'rating'"))
    .where(_SAME_RATING, sa.or_(_R.replaced_by.is_(None), _R.replaced_by < sa.bindparam("by")))
    .values(replaced_by=sa.bindparam("by")),
    [],
)


def first_in(connection: sa.Connection, device: str, floor: int, ceiling: int) -> tuple[int, Link] | None:
    """Return number and link of the first stored record of a journal."""
    row = _FIRST.row(connection, device=device, floor=floor, ceiling=ceiling)
    return None if row is None else (row[0], Link(row[1]))


_FIRST = Prepared(
    sa.select(_R.seq, _R.link)
    .where(_DEVICE, _R.seq >= sa.bindparam("floor"), _R.seq <= sa.bindparam("ceiling"))
    .order_by(_R.seq)
    .limit(1)
)


def whole_until(connection: sa.Connection, device: str, seq: int, ceiling: int) -> Place | None:
    """Return the last record of the whole stretch that begins with the stored record `seq`; None when that is not stored."""
    stop = _TROUBLE.value(connection, device=device, seq=seq)
    return before(connection, device, min(stop or ceiling + 1, ceiling + 1), seq)


_TROUBLE = Prepared(sa.select(sa.func.min(_R.seq)).where(_DEVICE, _R.seq > sa.bindparam("seq"), OPEN_LINK))


def _place(row: Any) -> Place:
    return Place(row[0], row[1], bytes(row[2]), bytes(row[3]))
