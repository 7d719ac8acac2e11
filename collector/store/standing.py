"""The writer's queries about everything that is not a record: evidence, positions and windows.

All take the connection of the one open write transaction. Called by ingest/intake and ingest/windows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from collector.ingest.evidence import Evidence
from collector.store.prepared import Prepared
from collector.store.tables import evidence, positions, windows
from protocol.topics import Window

EVIDENCE_KEPT = 10_000
"""Different pieces kept for each kind and window; what goes beyond is counted in one row, so that a flood fills no disk."""

_E, _P, _W = evidence.c, positions.c, windows.c


@dataclass(slots=True)
class Position:
    """How far one journal of one device is whole; see tables.positions."""

    device: str
    journal: int
    vouched_seq: int
    next_seq: int
    mac: bytes
    area: str
    hall: str
    window: str
    heard_ms: int


def note_evidence(connection: sa.Connection, item: Evidence, now_ms: int) -> bool:
    """Keep a piece of evidence, or count it when it is known; True when it is new."""
    place = item.window.path if item.window else ""
    if _count_again(connection, item.fingerprint, now_ms):
        return False
    row: dict[str, Any] = {
        "fingerprint": item.fingerprint,
        "kind": item.kind.value,
        "topic": _text(item.topic)[:256],
        "place": place,
        "device": item.device,
        "seq": item.seq,
        "text": _text(item.text)[:500],
        "payload": item.payload,
        "first_ms": now_ms,
        "last_ms": now_ms,
        "count": 1,
    }
    if _KEPT.value(connection, kind=item.kind.value, place=place) >= EVIDENCE_KEPT:
        row |= {"fingerprint": _digest(f"more/{item.kind.value}/{place}"), "device": None, "seq": None, "payload": b""}
        row["text"] = f"more than {EVIDENCE_KEPT} different ones; counted here, no longer kept one by one"
        if _count_again(connection, row["fingerprint"], now_ms):
            return False
    _NEW_EVIDENCE.run(connection, **row)
    return True


_NEW_EVIDENCE = Prepared(sa.insert(evidence).inline(), [column.name for column in _E if column.name != "id"])
_KEPT = Prepared(sa.select(sa.func.count()).where(_E.kind == sa.bindparam("kind"), _E.place == sa.bindparam("place")))


def _text(said: str) -> str:
    """Return somebody's words without zeros, which PostgreSQL cannot store in a text."""
    return said.replace("\x00", "\ufffd")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _count_again(connection: sa.Connection, fingerprint: str, now_ms: int) -> bool:
    return _AGAIN.run(connection, same=fingerprint, now=now_ms) > 0


_AGAIN = Prepared(
    sa.update(evidence).where(_E.fingerprint == sa.bindparam("same")).values(count=_E.count + 1, last_ms=sa.bindparam("now")),
    [],
)


def position(connection: sa.Connection, device: str, journal: int) -> Position | None:
    """Return the position of one journal, or None when nothing of it has been met."""
    row = _POSITION.row(connection, device=device, journal=journal)
    return None if row is None else Position(*row)


_THIS = sa.and_(_P.device == sa.bindparam("device"), _P.journal == sa.bindparam("journal"))
_POSITION = Prepared(sa.select(positions).where(_THIS))
_COLUMNS = positions.c.keys()
_CHANGING = [name for name in _COLUMNS if name not in ("device", "journal")]


def save_position(connection: sa.Connection, item: Position, *, new: bool) -> None:
    """Write a position back."""
    (_NEW_POSITION if new else _SAME_POSITION).run(connection, **{name: getattr(item, name) for name in _COLUMNS})


_NEW_POSITION = Prepared(sa.insert(positions), _COLUMNS)
# an update keeps the names of its columns for itself: the key's parameters need names of their own
_SAME_POSITION = Prepared(sa.update(positions).where(_THIS).values({name: sa.bindparam(f"{name}") for name in _CHANGING}), [])


def window(connection: sa.Connection, place: Window) -> dict[str, Any] | None:
    """Return the row of a window, or None when it has never been heard."""
    row = _WINDOW.row(connection, area=place.area, hall=place.hall, window=place.window)
    return None if row is None else dict(zip(_WINDOW_COLUMNS, row, strict=True))


_HERE = sa.and_(*(column == sa.bindparam(column.name) for column in (_W.area, _W.hall, _W.window)))
_WINDOW = Prepared(sa.select(windows).where(_HERE))
_WINDOW_COLUMNS = windows.c.keys()


def save_window(connection: sa.Connection, place: Window, values: dict[str, Any], *, new: bool) -> None:
    """Write some columns of a window's row; a new row needs them all but the numbers."""
    key = {"area": place.area, "hall": place.hall, "window": place.window}
    values = {name: _text(value) if isinstance(value, str) else value for name, value in values.items()}
    if new:
        connection.execute(sa.insert(windows).values(key | values))
    else:
        _changing(tuple(sorted(values))).run(connection, **key, **values)


@lru_cache(16)
def _changing(columns: tuple[str, ...]) -> Prepared:
    """Return the statement that changes these columns; there are two such sets, a state's and the numbers'."""
    return Prepared(sa.update(windows).where(_HERE).values({name: sa.bindparam(name) for name in columns}), [])
