"""Who was at the windows in a period: absences as the windows tell of them, and what the devices have signed about staff and pauses.

All queries take a reading connection. Called by pages/presence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.store.tables import IS_PRESENCE, absences, records, windows

_A, _R, _W = absences.c, records.c, windows.c


@dataclass(frozen=True, slots=True)
class Place:
    """Which windows are asked for: all of an area, of a hall, one, or simply all."""

    area: str = ""
    hall: str = ""
    window: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `area/hall/window` or the beginning of it."""
        return cls(*[*text.strip("/").split("/"), "", ""][:3])

    def conditions(self, columns: Any) -> list[Any]:
        """Return the conditions on a table that has these three columns."""
        wanted = {"area": self.area, "hall": self.hall, "window": self.window}
        return [columns[name] == value for name, value in wanted.items() if value]


def absences_in(connection: sa.Connection, from_ms: int, to_ms: int, place: Place, limit: int) -> list[dict[str, Any]]:
    """Return the first absences that began before the end of a period and were not over at its beginning, oldest first."""
    # not the sum of both: somebody may have said numbers whose sum no database can hold
    touches = sa.or_(_A.end_ms.is_(None), _A.end_ms >= from_ms, _A.lasted_ms >= from_ms - _A.begin_ms)
    query = (
        sa.select(absences).where(_A.begin_ms < to_ms, touches, *place.conditions(_A)).order_by(_A.begin_ms, _A.id).limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def signed_in(connection: sa.Connection, from_ms: int, to_ms: int, place: Place, limit: int) -> list[dict[str, Any]]:
    """Return the signed records of a period that say who served and when not, oldest first by the device's best time."""
    columns = (_R.area, _R.hall, _R.window, _R.device, _R.seq, _R.kind, _R.detail, _R.staff, _R.utc_ms, _R.quality)
    query = (
        sa.select(*columns)
        .where(IS_PRESENCE, _R.utc_ms >= from_ms, _R.utc_ms < to_ms, *place.conditions(_R))
        .order_by(_R.utc_ms, _R.device, _R.seq)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def windows_of(connection: sa.Connection, place: Place) -> list[dict[str, Any]]:
    """Return what the windows last said of themselves."""
    return [dict(row) for row in connection.execute(sa.select(windows).where(*place.conditions(_W))).mappings()]
