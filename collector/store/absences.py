"""The writer's queries about absences: what is stored of one, a new one, and its end.

All take the connection of the one open write transaction. Called by ingest/absences only; store/presence reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from collector.store.prepared import Prepared
from collector.store.tables import absences
from protocol.payloads import Absence
from protocol.topics import Window

_A = absences.c


@dataclass(frozen=True, slots=True)
class StoredAbsence:
    """What is stored of an absence and may be said again."""

    what: str
    reason: str
    device: str | None
    staff: str | None
    begin_ms: int
    end_ms: int | None
    lasted_ms: int | None
    measured: bool
    times: int

    def begins_as(self, said: Absence) -> bool:
        """Tell whether this is the same absence, so far as its beginning says."""
        begins = (self.what, self.reason, self.device, self.staff, self.begin_ms)
        return begins == (said.what, said.reason, said.device, _text(said.staff), said.begin_ms)

    def ends_as(self, said: Absence) -> bool:
        """Tell whether it ends as it is said to."""
        ends = (self.end_ms, self.lasted_ms, self.measured, self.times)
        return ends == (said.end_ms, said.lasted_ms, said.measured, said.times)


def stored(connection: sa.Connection, window: Window, identity: str) -> StoredAbsence | None:
    """Return what is stored of an absence of a window."""
    row = _STORED.row(connection, area=window.area, hall=window.hall, window=window.window, id=identity)
    if row is None:
        return None
    what, reason, device, staff, begin_ms, end_ms, lasted_ms, measured, times = row
    return StoredAbsence(what, reason, device, staff, begin_ms, end_ms, lasted_ms, bool(measured), times)


_THIS = sa.and_(*(column == sa.bindparam(column.name) for column in (_A.area, _A.hall, _A.window, _A.id)))
_STORED = Prepared(
    sa.select(
        _A.what, _A.reason, _A.device, _A.staff, _A.begin_ms, _A.end_ms, _A.lasted_ms, _A.measured, _A.times
    ).where(_THIS)
)  # fmt: skip  # the order of StoredAbsence


def insert(connection: sa.Connection, window: Window, said: Absence, now_ms: int) -> None:
    """Store one, over or not."""
    values = said.model_dump() | {"staff": _text(said.staff), "received_ms": now_ms}
    values["end_received_ms"] = None if said.end_ms is None else now_ms
    _INSERT.run(connection, area=window.area, hall=window.hall, window=window.window, **values)


_INSERT = Prepared(sa.insert(absences), absences.c.keys())


def end(connection: sa.Connection, window: Window, said: Absence, now_ms: int) -> None:
    """Store the end of one."""
    _END.run(
        connection,
        area=window.area,
        hall=window.hall,
        window=window.window,
        id=said.id,
        **{name: getattr(said, name) for name in _OF_THE_END},
        end_received_ms=now_ms,
    )


_OF_THE_END = ("end_ms", "lasted_ms", "measured", "times")
_END = Prepared(
    sa.update(absences).where(_THIS).values({name: sa.bindparam(name) for name in (*_OF_THE_END, "end_received_ms")}), []
)


def _text(said: str | None) -> str | None:
    """Return somebody's word without zeros, which PostgreSQL cannot store in a text."""
    return said if said is None else said.replace("\x00", "\ufffd")
