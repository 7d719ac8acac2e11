"""Records from the moment they are durable until the collector's receipt covers them.

A PUBACK moves a record from *to send* to *sent* and no further; what stays without a receipt is sent again. Receipted records
are kept for a while and then purged, undelivered ones never.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from host_agent.store.database import Writer
from host_agent.store.schema import RECEIPTED, SENT, TO_SEND
from protocol.messages import HelloAnswer, Receipt
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Row:
    """One record on its way up."""

    id: int
    device: str
    raw: bytes
    received_ms: int
    case_json: str | None
    was_sent: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits, and since when the oldest of it."""

    to_send: int
    sent: int
    oldest_ms: int | None


class Outbox:
    """The records and what is known of each device."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def accept(self, connection: sqlite3.Connection, device: str, records: Sequence[tuple[Record, bytes]], now_ms: int) -> None:
        """Insert records in the caller's transaction; what is here already stays as it is."""
        connection.executemany(
            "INSERT OR IGNORE INTO records (device, seq, mac, raw, evaluation, received_ms, state) VALUES (?,?,?,?,?,?,?)",
            [(device, record.seq, record.mac, raw, record.evaluation.hex(), now_ms, TO_SEND) for record, raw in records],
        )

    def advance(self, connection: sqlite3.Connection, device: str, next_seq: int) -> None:
        """Note in the caller's transaction that every record before `next_seq` is here or will never come."""
        connection.execute("UPDATE devices SET next_seq = max(next_seq, ?) WHERE device = ?", (next_seq, device))

    def meet(self, answer: HelloAnswer, now_ms: int) -> int:
        """Note a device's hello; return the first record that is not here yet (0 for a device never met)."""
        with self._writer.transaction() as connection:
            connection.execute(
                "INSERT INTO devices (device, next_seq, receipt_seq, firmware, boot, seen_ms) VALUES (?, 0, 0, ?, ?, ?)"
                " ON CONFLICT (device) DO UPDATE SET firmware = excluded.firmware, boot = excluded.boot,"
                " seen_ms = excluded.seen_ms",
                (answer.device, answer.firmware, answer.boot, now_ms),
            )
        row = self._writer.connection.execute("SELECT next_seq FROM devices WHERE device = ?", (answer.device,)).fetchone()
        return int(row[0])

    def to_send(self, after_id: int, limit: int) -> list[Row]:
        """Return up to `limit` records that have not been acknowledged by the broker, oldest first, after `after_id`."""
        rows = self._writer.connection.execute(
            "SELECT r.id, r.device, r.raw, r.received_ms, e.case_json, r.sent_ms IS NOT NULL FROM records r"
            " LEFT JOIN evaluations e ON e.id = r.evaluation WHERE r.state = ? AND r.id > ? ORDER BY r.id LIMIT ?",
            (TO_SEND, after_id, limit),
        )
        return [
            Row(id=row[0], device=row[1], raw=row[2], received_ms=row[3], case_json=row[4], was_sent=bool(row[5]))
            for row in rows
        ]

    def mark_sent(self, ids: Sequence[int], now_ms: int) -> None:
        """Note that the broker has acknowledged these; a receipt that came first stays."""
        with self._writer.transaction() as connection:
            connection.executemany(
                "UPDATE records SET state = ?, sent_ms = ? WHERE id = ? AND state = ?",
                [(SENT, now_ms, row_id, TO_SEND) for row_id in ids],
            )

    def send_again(self, sent_before_ms: int) -> int:
        """Put what was sent before that and has no receipt back to *to send*; return how many that are."""
        with self._writer.transaction() as connection:
            return connection.execute(
                "UPDATE records SET state = ? WHERE state = ? AND sent_ms <= ?", (TO_SEND, SENT, sent_before_ms)
            ).rowcount

    def receipt(self, device: str, receipt: Receipt) -> bool:
        """Take a receipt if its record MAC is the one held here; keep the latest for the device's next hello.

        The agent has no key: whether the receipt is genuine is for the device to say, which keeps its records until it is.
        """
        connection = self._writer.connection
        row = connection.execute("SELECT receipt_seq FROM devices WHERE device = ?", (device,)).fetchone()
        if row is not None and receipt.next_seq <= row[0]:
            return True  # repeated; its records may have been purged since
        held = connection.execute(
            "SELECT 1 FROM records WHERE device = ? AND seq = ? AND mac = ?",
            (device, receipt.next_seq - 1, receipt.record_mac),
        ).fetchone()
        if row is None or held is None:
            return False
        with self._writer.transaction():
            connection.execute(
                "UPDATE records SET state = ? WHERE device = ? AND seq < ? AND state < ?",
                (RECEIPTED, device, receipt.next_seq, RECEIPTED),
            )
            connection.execute(
                "UPDATE devices SET receipt_seq = ?, receipt = ? WHERE device = ?",
                (receipt.next_seq, receipt.pack(), device),
            )
        return True

    def last_receipt(self, device: str) -> Receipt | None:
        """Return the latest receipt for a device, to be handed to it once more."""
        row = self._writer.connection.execute("SELECT receipt FROM devices WHERE device = ?", (device,)).fetchone()
        return Receipt.unpack(row[0]) if row and row[0] else None

    def waiting(self) -> Waiting:
        """Count what waits."""
        counts: dict[int, int] = {}
        oldest: list[int] = []
        for state, count, since in self._writer.connection.execute(
            "SELECT state, count(*), min(received_ms) FROM records WHERE state < ? GROUP BY state", (RECEIPTED,)
        ):
            counts[state] = count
            oldest.append(since)
        return Waiting(counts.get(TO_SEND, 0), counts.get(SENT, 0), min(oldest, default=None))

    def purge(self, receipted_before_ms: int) -> int:
        """Delete receipted records older than that; return how many."""
        with self._writer.transaction() as connection:
            return connection.execute(
                "DELETE FROM records WHERE state = ? AND received_ms < ?", (RECEIPTED, receipted_before_ms)
            ).rowcount
