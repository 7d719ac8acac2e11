"""Absences and the agent's last sign of life, durable here; each absence until the collection has it as it ended.

Called by attendance, which decides what is to be stored, and by uplink/absences, which sends it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from host_agent.absences import Change, Sign
from host_agent.store.damage import content_checked, damaged, must_ascend
from host_agent.store.database import Writer
from protocol.errors import PayloadError
from protocol.payloads import Absence

SIGN: Final = "absences_sign"
_NOT_TOLD = "told < 1 + is_over AND (is_over OR what = 'device')"
"""An absence of the agent is told when it is over: while the agent tells anything it is there."""


@dataclass(frozen=True, slots=True)
class WaitingAbsence:
    """An absence that the collection has not confirmed as it is now."""

    number: int
    said: Absence
    is_over: bool


class AbsenceStore:
    """Reads and writes them; `puts` grows whenever there is something new to send."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.puts = 0

    def sign(self) -> Sign | None:
        """Return the last sign of life, None in a new database."""
        row = self._writer.connection.execute("SELECT value FROM facts WHERE name = ?", (SIGN,)).fetchone()
        if row is None:
            return None
        with content_checked():
            sign = Sign(**json.loads(row[0]))
            if not isinstance(sign.stopped, bool):
                raise TypeError
            # refuses what no absence could say that begins with it
            Absence(
                id="0" * 32,
                what="agent",
                reason="killed",
                device=sign.device,
                staff=sign.staff,
                begin_ms=sign.at_ms,
                measured=False,
                times=1,
            )
        return sign

    def lasting(self) -> list[Absence]:
        """Return those that were not over when the last run ended."""
        rows = self._writer.connection.execute("SELECT said_json FROM absences WHERE NOT is_over ORDER BY number").fetchall()
        return [_parse(row[0]) for row in rows]

    def put(self, change: Change) -> None:
        """Store everything of a change, durably."""
        with self._writer.transaction() as connection:
            connection.executemany(
                "INSERT INTO absences (id, what, said_json, is_over) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET said_json = excluded.said_json, is_over = excluded.is_over",
                [(one.said.id, one.said.what, one.said.to_json().decode(), one.is_over) for one in change.absences],
            )
            fact = (SIGN, json.dumps(asdict(change.sign)))
            connection.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", fact)
        self.puts += change.is_news

    def count(self) -> int:
        """Return how many are here, which is how many wait for the collection or last."""
        with content_checked():
            return int(self._writer.connection.execute("SELECT count(*) FROM absences").fetchone()[0])

    def waiting(self, after: int, limit: int) -> list[WaitingAbsence]:
        """Return what the collection has not confirmed, oldest first."""
        rows = self._writer.connection.execute(
            f"SELECT number, said_json, is_over FROM absences WHERE {_NOT_TOLD} AND number > ? ORDER BY number LIMIT ?",  # noqa: S608  # constant words
            (after, limit),
        ).fetchall()
        with content_checked():
            must_ascend(after, [row[0] for row in rows])
        return [WaitingAbsence(number, _parse(said), bool(is_over)) for number, said, is_over in rows]

    def answered(self, identity: str, *, is_over: bool, is_first: bool) -> bool:
        """Note the collection's word: what is over, or is not taken, is done with and forgotten. False when nothing waits for it."""
        if is_first and not is_over:
            query, values = "UPDATE absences SET told = 1 WHERE id = ? AND told = 0", (identity,)
        else:
            query, values = "DELETE FROM absences WHERE id = ? AND is_over", (identity,)
        return self._writer.connection.execute(query, values).rowcount > 0


def _parse(said: object) -> Absence:
    try:
        return Absence.from_json(str(said).encode())
    except PayloadError as error:
        raise damaged(f"an absence is not what was written ({error.reason})") from error
