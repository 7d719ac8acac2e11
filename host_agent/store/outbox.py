"""Records from the moment they are durable until the collector's receipt covers them.

A PUBACK moves a record from *to send* to *sent* and no further; what stays without a receipt is sent again. Receipted records
are kept for a while and then deleted (see `upkeep`), undelivered ones never. The one exception: a record whose number another
record has, which the collector has stored, is sent SENDS_OF_DISPUTED times, to be kept there as evidence, and then waits for
nothing more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from host_agent.store.damage import content_checked, must_ascend
from host_agent.store.database import Writer
from host_agent.store.schema import DISPUTED, RECEIPTED, SENT, TO_SEND
from protocol.messages import HelloAnswer, Receipt
from protocol.payloads import Reckoned
from protocol.record import SEQ_SPAN, Record, RecordFlag, parse_record

SENDS_OF_DISPUTED = 5


class Row(NamedTuple):
    """One record on its way up; `is_replayed` when it was not just written by the device or was sent before."""

    id: int
    device: str
    raw: bytes
    received_ms: int
    case_json: str | None
    is_replayed: int
    reckoned_json: str | None
    """When it was written by our reckoning, a Reckoned; None when nobody has reckoned."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits for its receipt, and when the oldest of it came."""

    to_send: int
    sent: int
    oldest_ms: int | None

    def oldest_for_ms(self, now_ms: int) -> int | None:
        """Return how long the oldest record has waited; 0 when the clock has been set back since."""
        return None if self.oldest_ms is None else max(0, now_ms - self.oldest_ms)


class Outbox:
    """The records and what is known of each device."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.puts = 0
        """How often something may have come to be sent that was not there before."""

    def accept(
        self,
        connection: sqlite3.Connection,
        device: str,
        records: Sequence[tuple[Record, bytes]],
        now_ms: int,
        replayed_before_seq: int = 0,
        reckon: Callable[[Record], Reckoned] | None = None,
    ) -> None:
        """Insert records in the caller's transaction; what is here already stays as it is, also when it was written."""
        self.puts += 1
        connection.executemany(
            "INSERT OR IGNORE INTO records (device, seq, mac, raw, evaluation, received_ms, replayed, state, reckoned_json)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            [
                (
                    device,
                    record.seq,
                    record.mac,
                    raw,
                    record.evaluation.hex(),
                    now_ms,
                    record.seq < replayed_before_seq,
                    TO_SEND,
                    None if reckon is None else reckon(record).to_json().decode(),
                )
                for record, raw in records
            ],
        )

    def advance(self, connection: sqlite3.Connection, device: str, next_seq: int) -> None:
        """Note in the caller's transaction that every record before `next_seq` is here or will never come."""
        connection.execute("UPDATE devices SET next_seq = max(next_seq, ?) WHERE device = ?", (next_seq, device))

    def meet(self, answer: HelloAnswer, now_ms: int) -> tuple[int, bool]:
        """Note a device's hello; return the first record that is not here yet, and whether its numbers went back.

        0 for a device never met, and for one that has fewer records than it had: then all of it is read again.
        """
        known_seq = self.next_seq(answer.device)
        went_back = known_seq > answer.next_seq
        next_seq = 0 if went_back else known_seq
        if next_seq > answer.receipt_seq and not self.holds(answer.device, answer.receipt_seq):
            # passed over, or lost by this disk: the collection waits for it, or for the device's word that it is gone
            next_seq = answer.receipt_seq
        with self._writer.transaction() as connection:
            connection.execute(
                "INSERT INTO devices (device, next_seq, receipt_seq, firmware, boot, seen_ms) VALUES (?, 0, 0, ?, ?, ?)"
                " ON CONFLICT (device) DO UPDATE SET firmware = excluded.firmware, boot = excluded.boot,"
                " seen_ms = excluded.seen_ms",
                (answer.device, answer.firmware, answer.boot, now_ms),
            )
            # or records that it writes while it is elsewhere would be taken for those that its old numbers named
            connection.execute("UPDATE devices SET next_seq = ? WHERE device = ?", (next_seq, answer.device))
            # a device can lose its latest receipt with its power; where none is left to hand it, sending again brings another
            receipt = self.last_receipt(answer.device)
            first_seq = max(answer.receipt_seq, receipt.next_seq if receipt is not None else 0)
            connection.execute(
                "UPDATE records SET state = ? WHERE device = ? AND seq >= ? AND seq < ? AND state = ?",
                (TO_SEND, answer.device, first_seq, answer.next_seq, RECEIPTED),
            )
        return next_seq, went_back

    def discard(self, row_id: int) -> None:
        """Delete a record that is damaged here, so that the device's own can take its place."""
        self._writer.connection.execute("DELETE FROM records WHERE id = ?", (row_id,))

    def holds(self, device: str, seq: int) -> bool:
        """Tell whether a record of that number is here."""
        query = "SELECT 1 FROM records WHERE device = ? AND seq = ?"
        return self._writer.connection.execute(query, (device, seq)).fetchone() is not None

    def next_seq(self, device: str) -> int:
        """Return the first record of a device that is not here yet."""
        row = self._writer.connection.execute("SELECT next_seq FROM devices WHERE device = ?", (device,)).fetchone()
        with content_checked():
            return int(row[0]) if row else 0

    def to_send(self, after_id: int, limit: int) -> list[Row]:
        """Return up to `limit` records that have not been acknowledged by the broker, oldest first, after `after_id`."""
        rows = self._writer.connection.execute(
            "SELECT r.id, r.device, r.raw, r.received_ms, e.case_json, r.replayed OR r.sent_run_ms IS NOT NULL,"
            " r.reckoned_json FROM records r"
            " LEFT JOIN evaluations e ON e.id = r.evaluation WHERE r.state = ? AND r.id > ? ORDER BY r.id LIMIT ?",
            (TO_SEND, after_id, limit),
        )
        found = [Row(*row) for row in rows]
        must_ascend(after_id, [row.id for row in found])
        return found

    def mark_sent(self, ids: Sequence[int], run_ms: int) -> None:
        """Note that the broker has acknowledged these, at `run_ms` of running time; a receipt that came first stays."""
        with self._writer.transaction() as connection:
            connection.executemany(
                "UPDATE records SET state = ?, sent_run_ms = ?, sends = sends + 1 WHERE id BETWEEN ? AND ? AND state = ?",
                [(SENT, run_ms, first, last, TO_SEND) for first, last in _stretches(ids)],
            )

    def latest_sent_run_ms(self) -> int:
        """Return the running time at which a record was sent last, from which running time goes on after a restart."""
        row = self._writer.connection.execute("SELECT max(sent_run_ms) FROM records WHERE state < ?", (RECEIPTED,)).fetchone()
        with content_checked():
            return int(row[0] or 0)

    def give_up_disputed(self) -> int:
        """Stop sending what can never get a receipt, for another record has its number and has one; return how many that are."""
        return self._writer.connection.execute(
            "UPDATE records SET state = ? WHERE state = ? AND sends >= ? AND EXISTS (SELECT 1 FROM records o"
            " WHERE o.device = records.device AND o.seq = records.seq AND o.mac <> records.mac AND o.state = ?)",
            (DISPUTED, SENT, SENDS_OF_DISPUTED, RECEIPTED),
        ).rowcount

    def contradicts(self, device: str, record: Record) -> bool:
        """Tell whether the record before this one is here, and none of that number is the one it was chained to."""
        if record.flags & RecordFlag.NEW_JOURNAL:
            return False
        macs = self._writer.connection.execute(
            "SELECT mac FROM records WHERE device = ? AND seq = ?", (device, record.seq - 1)
        ).fetchall()
        return bool(macs) and (record.prev_mac,) not in macs

    def send_once_more(self, device: str, first_seq: int, end_seq: int) -> set[int]:
        """Put the records from `first_seq` to before `end_seq` back to *to send*, receipted ones too; return which are here."""
        span = (device, first_seq, end_seq)
        with self._writer.transaction() as connection:
            connection.execute(
                "UPDATE records SET state = ? WHERE device = ? AND seq >= ? AND seq < ? AND state <> ?",
                (TO_SEND, *span, TO_SEND),
            )
            rows = connection.execute("SELECT seq FROM records WHERE device = ? AND seq >= ? AND seq < ?", span).fetchall()
        self.puts += 1
        with content_checked():
            return {int(seq) for (seq,) in rows}

    def send_again(self, sent_before_run_ms: int) -> int:
        """Put what was sent by that running time and has no receipt back to *to send*; return how many that are."""
        return self._writer.connection.execute(
            "UPDATE records SET state = ? WHERE state = ? AND sent_run_ms <= ?", (TO_SEND, SENT, sent_before_run_ms)
        ).rowcount

    def fits(self, device: str, receipt: Receipt) -> bool:
        """Tell whether a receipt is about a record that is held here, or repeats one whose records may have been purged since."""
        row = self._writer.connection.execute("SELECT receipt_seq FROM devices WHERE device = ?", (device,)).fetchone()
        return row is not None and (self._is_held(device, receipt) or bool(receipt.next_seq <= row[0]))

    def receipt(self, device: str, receipt: Receipt) -> bool:
        """Take a receipt if it fits, and tell whether it does; keep the latest for the device's next hello.

        It covers the journal that its record belongs to: an earlier journal is receipted on its own (see the collector's
        receipts). Of two records with one number it covers the one in its chain. The agent has no key: whether the receipt
        is genuine is for the device to say, which keeps its records until it is; what it refuses is undone by `put_back`.
        """
        if not self._is_held(device, receipt):
            return self.fits(device, receipt)
        first_seq = (receipt.next_seq - 2) // SEQ_SPAN * SEQ_SPAN + 1
        with self._writer.transaction() as connection:
            connection.execute(
                "UPDATE records SET state = ? WHERE device = ? AND seq >= ? AND seq < ? AND state < ? AND NOT EXISTS"
                " (SELECT 1 FROM records o WHERE o.device = records.device AND o.seq = records.seq AND o.mac <> records.mac)",
                (RECEIPTED, device, first_seq, receipt.next_seq, RECEIPTED),
            )
            self._receipt_twins(connection, device, first_seq, receipt)
            # of the same number only where the one before it was refused: a device that loses it must be able to get it again
            connection.execute(
                "UPDATE devices SET receipt_seq = ?1, receipt = ?2 WHERE device = ?3"
                " AND (receipt_seq < ?1 OR (receipt_seq = ?1 AND receipt IS NULL))",
                (receipt.next_seq, receipt.pack(), device),
            )
        return True

    def _is_held(self, device: str, receipt: Receipt) -> bool:
        query = "SELECT 1 FROM records WHERE device = ? AND seq = ? AND mac = ?"
        key = (device, receipt.next_seq - 1, receipt.record_mac)
        return self._writer.connection.execute(query, key).fetchone() is not None

    def put_back(self, device: str, receipt: Receipt, taken_seq: int, run_ms: int) -> int:
        """Send again what a receipt seemed to release that the device has refused; return how many records that are.

        The device has taken receipts up to `taken_seq`, and nothing before that is in doubt. After a few times a record is not
        sent at once any more but when its turn to be sent again comes, `run_ms` being the running time now: a device also refuses
        genuine receipts that are about a twin with its id, and each sending brings another one.
        """
        connection = self._writer.connection
        with self._writer.transaction():
            connection.execute(
                "UPDATE devices SET receipt_seq = ?, receipt = NULL WHERE device = ? AND receipt = ?",
                (taken_seq, device, receipt.pack()),
            )
            return connection.execute(
                "UPDATE records SET sends = sends + 1, state = CASE WHEN sends < :few THEN :to_send ELSE :sent END,"
                " sent_run_ms = CASE WHEN sends < :few THEN sent_run_ms ELSE :run_ms END"
                " WHERE device = :device AND seq >= :first AND seq < :next AND state = :receipted",
                {
                    "few": SENDS_OF_DISPUTED,
                    "to_send": TO_SEND,
                    "sent": SENT,
                    "run_ms": run_ms,
                    "device": device,
                    "first": taken_seq,
                    "next": receipt.next_seq,
                    "receipted": RECEIPTED,
                },
            ).rowcount

    def _receipt_twins(self, connection: sqlite3.Connection, device: str, first_seq: int, receipt: Receipt) -> None:
        """Among records whose number came twice, mark those that the receipt's chain runs through."""
        twins = connection.execute(
            "SELECT id, seq, mac FROM records WHERE device = ? AND seq >= ? AND seq < ? AND state < ? ORDER BY seq DESC",
            (device, first_seq, receipt.next_seq, RECEIPTED),
        ).fetchall()
        for row_id, seq, mac in twins:
            if seq == receipt.next_seq - 1:
                covered = mac == receipt.record_mac
            else:
                followers = connection.execute(
                    "SELECT raw FROM records WHERE device = ? AND seq = ? AND state = ?", (device, seq + 1, RECEIPTED)
                ).fetchall()
                with content_checked():
                    covered = mac in {parse_record(raw).prev_mac for (raw,) in followers}
            if covered:
                connection.execute("UPDATE records SET state = ? WHERE id = ?", (RECEIPTED, row_id))

    def last_receipt(self, device: str) -> Receipt | None:
        """Return the latest receipt for a device, to be handed to it once more."""
        row = self._writer.connection.execute("SELECT receipt FROM devices WHERE device = ?", (device,)).fetchone()
        with content_checked():
            return Receipt.unpack(row[0]) if row and row[0] else None

    def waiting(self) -> Waiting:
        """Count what waits."""
        counts: dict[int, int] = {}
        oldest: list[int] = []
        for state, count, since in self._writer.connection.execute(
            "SELECT state, count(*), min(received_ms) FROM records WHERE state < ? GROUP BY state", (RECEIPTED,)
        ):
            with content_checked():
                counts[state] = count
                oldest.append(int(since))
        return Waiting(counts.get(TO_SEND, 0), counts.get(SENT, 0), min(oldest, default=None))


def _stretches(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return first and last of each run of consecutive numbers: the broker acknowledges mostly in order."""
    runs = groupby(enumerate(sorted(ids)), key=lambda at_id: at_id[1] - at_id[0])
    return [(run[0][1], run[-1][1]) for run in (list(members) for _, members in runs)]
