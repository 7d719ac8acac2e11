"""Cases named after their rating, until the collection has them.

Which ratings may have one is seen from the records themselves: those that are bound to no case, for the citizen pressed unasked
or was asked without one. A named case is durable here before anybody is told that it was taken, and kept as long as its rating.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from host_agent.store.damage import content_checked, must_ascend
from host_agent.store.database import Writer
from protocol.payloads import Case
from protocol.quick_record import quick_parse
from protocol.record import Kind, Record, RecordFlag

WAITING: Final = 0
KEPT: Final = 1
REFUSED: Final = 2
"""The collection had another one first."""
NOBODY = "0" * 32
LOOKED_AT = 500
"""How many of the latest records are looked through for ratings that were not asked for."""


@dataclass(frozen=True, slots=True)
class FreeRating:
    """A rating that is bound to no case, and the case that was named for it since."""

    device: str
    seq: int
    mac: bytes
    at_ms: int | None
    staff: str | None
    case: Case | None


@dataclass(frozen=True, slots=True)
class WaitingCase:
    """A late case that the collection has not confirmed."""

    number: int
    device: str
    seq: int
    mac: bytes
    case: Case
    staff: str | None
    named_ms: int


class LateCaseStore:
    """Reads and writes them; `puts` grows whenever there is something new to send."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.puts = 0

    def rating(self, device: str, seq: int) -> FreeRating | None:
        """Return the rating with this number if it may have a late case, or has one."""
        rows = self._writer.connection.execute("SELECT raw FROM records WHERE device = ? AND seq = ?", (device, seq)).fetchall()
        with content_checked():
            records = [quick_parse(raw) for (raw,) in rows]
        # a number that came twice is for the collection to judge; nothing is named for it here
        return self._free(device, records[0]) if len(records) == 1 and may_have_one(records[0]) else None

    def recent(self, limit: int) -> list[FreeRating]:
        """Return the latest ratings that nobody was asked for, the latest first."""
        rows = self._writer.connection.execute(
            "SELECT device, raw FROM records WHERE evaluation = ? ORDER BY id DESC LIMIT ?", (NOBODY, LOOKED_AT)
        ).fetchall()
        found: list[FreeRating] = []
        with content_checked():
            for device, raw in rows:
                if len(found) == limit:
                    break
                record = quick_parse(raw)
                if may_have_one(record):
                    found.append(self._free(device, record))
        return found

    def name(self, rating: FreeRating, case: Case, staff: str | None, now_ms: int) -> None:
        """Store a case for a rating that has none, durably."""
        self._writer.connection.execute(
            "INSERT INTO late_cases (device, seq, mac, case_json, staff, named_ms, state) VALUES (?,?,?,?,?,?,?)",
            (rating.device, rating.seq, rating.mac, case.to_json().decode(), staff, now_ms, WAITING),
        )
        self.puts += 1

    def waiting(self, after: int, limit: int) -> list[WaitingCase]:
        """Return what the collection has not confirmed, oldest first."""
        rows = self._writer.connection.execute(
            "SELECT id, device, seq, mac, case_json, staff, named_ms FROM late_cases"
            " WHERE state = ? AND id > ? ORDER BY id LIMIT ?",
            (WAITING, after, limit),
        ).fetchall()
        must_ascend(after, [row[0] for row in rows])
        with content_checked():
            return [
                WaitingCase(number, device, seq, mac, Case.from_json(case.encode()), staff, named_ms)
                for number, device, seq, mac, case, staff, named_ms in rows
            ]

    def answered(self, device: str, seq: int, *, is_kept: bool) -> bool:
        """Note the collection's word; False when nothing here waits for it."""
        state = KEPT if is_kept else REFUSED
        query = "UPDATE late_cases SET state = ? WHERE device = ? AND seq = ? AND state = ?"
        return self._writer.connection.execute(query, (state, device, seq, WAITING)).rowcount > 0

    def purge(self) -> None:
        """Delete those that are done with and whose rating is no longer kept here."""
        self._writer.connection.execute(
            "DELETE FROM late_cases WHERE state <> ? AND NOT EXISTS"
            " (SELECT 1 FROM records WHERE records.device = late_cases.device AND records.seq = late_cases.seq)",
            (WAITING,),
        )

    def _free(self, device: str, record: Record) -> FreeRating:
        row = self._writer.connection.execute(
            "SELECT case_json FROM late_cases WHERE device = ? AND seq = ?", (device, record.seq)
        ).fetchone()
        case = Case.from_json(row[0].encode()) if row is not None else None
        return FreeRating(device, record.seq, record.mac, record.utc_ms or None, record.staff or None, case)


def may_have_one(record: Record) -> bool:
    """Tell whether a case may be named for a record: a rating that is bound to none, and replaces no other.

    A change of mind goes with the rating that it replaces.
    """
    is_bound = any(record.context_digest)
    return record.kind is Kind.RATING and not is_bound and not record.flags & RecordFlag.REVISION
