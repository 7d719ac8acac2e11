"""Evaluations in the agent's database."""

from __future__ import annotations

import sqlite3

from host_agent.evaluations import Evaluation, EvaluationState
from host_agent.store.damage import content_checked
from host_agent.store.database import Writer
from protocol.levels import Level
from protocol.payloads import Case
from protocol.record import parse_record

_COLUMNS = "id, key, case_json, staff, state, reason, timeout_ms, created_ms, ended_ms"
_OPEN = (EvaluationState.OPENING.value, EvaluationState.OPENED.value)


class EvaluationStore:
    """Reads and writes evaluations."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def add(self, evaluation: Evaluation) -> None:
        """Store a new evaluation durably."""
        with self._writer.transaction() as connection:
            connection.execute(
                f"INSERT INTO evaluations ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)",  # noqa: S608  # constant names
                (
                    evaluation.id,
                    evaluation.key,
                    evaluation.case.to_json().decode() if evaluation.case is not None else "",
                    evaluation.staff,
                    evaluation.state.value,
                    evaluation.reason,
                    evaluation.timeout_ms,
                    evaluation.created_ms,
                    evaluation.ended_ms,
                ),
            )

    def save(self, evaluation: Evaluation) -> None:
        """Store how an evaluation stands, in a transaction of its own."""
        with self._writer.transaction() as connection:
            self.save_in(connection, evaluation)

    def save_in(self, connection: sqlite3.Connection, evaluation: Evaluation) -> None:
        """Store how an evaluation stands, in the caller's transaction."""
        connection.execute(
            "UPDATE evaluations SET state = ?, reason = ?, ended_ms = ? WHERE id = ?",
            (evaluation.state.value, evaluation.reason, evaluation.ended_ms, evaluation.id),
        )

    def get(self, evaluation_id: str) -> Evaluation | None:
        """Return an evaluation by its id."""
        return self._one("id = ?", evaluation_id)

    def by_key(self, key: str) -> Evaluation | None:
        """Return the evaluation that a business system opened under this key."""
        return self._one("key = ?", key)

    def level(self, evaluation_id: str) -> Level | None:
        """Return how an evaluation was rated, after changes of mind; None when it was not, or its records are not here.

        Only for halls that have switched on that their window may know.
        """
        rows = self._writer.connection.execute(
            "SELECT raw FROM records WHERE evaluation = ? ORDER BY device, seq", (evaluation_id,)
        ).fetchall()
        with content_checked():
            ratings = [level for (raw,) in rows if (level := parse_record(raw).rating) is not None]
        return ratings[-1] if ratings else None

    def unfinished(self) -> list[Evaluation]:
        """Return the evaluations that have not ended."""
        rows = self._writer.connection.execute(
            f"SELECT {_COLUMNS} FROM evaluations WHERE state IN (?, ?)",  # noqa: S608  # constant names
            _OPEN,
        )
        with content_checked():
            return [_evaluation(row) for row in rows]

    def _one(self, where: str, value: str) -> Evaluation | None:
        row = self._writer.connection.execute(
            f"SELECT {_COLUMNS} FROM evaluations WHERE {where}",  # noqa: S608  # constant names
            (value,),
        ).fetchone()
        with content_checked():
            return _evaluation(row) if row else None


def _evaluation(row: tuple[str, str | None, str, str | None, str, str | None, int, int, int | None]) -> Evaluation:
    if not all(isinstance(row[at], kind) for at, kind in ((0, str), (2, str), (6, int), (7, int))):
        raise TypeError(f"evaluation {row[0]!r}")
    return Evaluation(
        id=row[0],
        key=row[1],
        case=Case.from_json(row[2].encode()) if row[2] else None,
        staff=row[3],
        state=EvaluationState(row[4]),
        reason=row[5],
        timeout_ms=row[6],
        created_ms=row[7],
        ended_ms=row[8],
    )
