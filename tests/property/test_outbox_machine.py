"""The real outbox and the real delivery against a plain model: accept, publish, PUBACK, crash, receipt, in any order.

The model is three sets of numbers. What must hold after every step: the records here are exactly those that were accepted and
have no receipt; at most a window is in flight; nothing is waited for that can never come. And at the end, with a broker and
a collector that work, everything leaves.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from host_agent.instant import Instant
from host_agent.store.database import Writer
from host_agent.store.outbox import Outbox
from host_agent.store.schema import RECEIPTED, SENT, TO_SEND
from host_agent.uplink.delivery import Delivery
from protocol.messages import Receipt
from protocol.record import Record, parse_record
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, delete_delivered, hello_answer
from tests.chains import PaperDevice

WINDOW = 4
DAY_MS = 86_400_000


class OutboxMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.device = PaperDevice()
        self.mono_s = 0.0
        self.utc_ms = 1_780_000_000_000
        self.accepted: set[int] = set()
        self.receipted = 0
        """Every record up to this one has its receipt."""
        self.at_broker: set[int] = set()
        self.in_flight: dict[int, int] = {}
        self.number = 0
        self.ran_ms = 0
        self.open()

    def open(self) -> None:
        self.writer = Writer(self.folder)
        self.outbox = Outbox(self.writer)
        self.delivery = Delivery(WINDOW, self.now, self.outbox.latest_sent_run_ms())
        next_seq, went_back = self.outbox.meet(hello_answer(next_seq=self.device.next_seq), self.utc_ms)
        assert not went_back
        assert next_seq == (max(self.accepted) + 1 if self.accepted else 0)
        self.acknowledged: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.settle()
            self.writer.close()
            shutil.rmtree(self.folder)

    @property
    def now(self) -> Instant:
        return Instant(self.mono_s, self.utc_ms)

    @rule(count=st.integers(1, 6))
    def accept(self, count: int) -> None:
        written = self.device.write_many(count)
        with self.writer.transaction() as connection:
            self.outbox.accept(connection, DEVICE, [(one, one.pack()) for one in written], self.utc_ms)
            self.outbox.advance(connection, DEVICE, self.device.next_seq)
        self.accepted.update(one.seq for one in written)

    @precondition(lambda self: self.accepted)
    @rule(count=st.integers(1, 6))
    def accept_again(self, count: int) -> None:
        again = self.device.written[-count:]
        with self.writer.transaction() as connection:
            self.outbox.accept(connection, DEVICE, [(one, one.pack()) for one in again], self.utc_ms)

    @rule()
    def publish(self) -> None:
        while self.delivery.room > 0:
            rows = self.outbox.to_send(self.delivery.after_id, self.delivery.room)
            if not rows:
                return
            for row in rows:
                if self.delivery.is_in_flight(row.id):
                    self.delivery.after_id = row.id
                    continue
                self.number += 1
                self.delivery.published(row.id, self.number, self.now)
                self.in_flight[self.number] = parse_record(row.raw).seq

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), marks=st.booleans())
    def puback(self, data: st.DataObject, *, marks: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.puback_of(number)
        if marks:
            self.mark()

    def puback_of(self, number: int) -> None:
        self.at_broker.add(self.in_flight.pop(number))
        row = self.delivery.acknowledged(number)
        assert row is not None
        self.acknowledged.append(row)

    @rule()
    def mark(self) -> None:
        self.outbox.mark_sent(self.acknowledged, self.delivery.run_ms(self.now))
        self.acknowledged.clear()

    @rule()
    def crash_and_open_again(self) -> None:
        self.writer.close()
        self.in_flight.clear()
        self.mono_s = 0.0  # the PC may have been switched off, too
        self.open()

    @rule()
    def connection_replaced(self) -> None:
        self.delivery.forget()
        self.in_flight.clear()

    @rule(seconds=st.sampled_from([1, 10, 61, 200, 4000]), clock_ms=st.sampled_from([0, 0, -DAY_MS, DAY_MS]))
    def wait(self, seconds: int, clock_ms: int) -> None:
        self.mono_s += seconds
        self.utc_ms += 1000 * seconds + clock_ms

    @rule()
    def send_again(self) -> None:
        before_ms = self.delivery.overdue_before_ms(self.now)
        if before_ms is not None and self.outbox.send_again(before_ms):
            self.delivery.sent_again(self.now)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def receipt(self, data: st.DataObject) -> None:
        """In order or late or repeated, whether or not its PUBACK was seen."""
        record = data.draw(st.sampled_from(self.device.written))
        assert self.outbox.receipt(DEVICE, self.signed(record))
        self.delivery.receipted()
        self.receipted = max(self.receipted, record.seq)

    @rule(ahead=st.integers(0, 3))
    def receipt_for_a_record_that_is_not_here(self, ahead: int) -> None:
        other = self.device.fork().write_many(1 + ahead)[-1]
        assert not self.outbox.receipt(DEVICE, self.signed(other))

    @precondition(lambda self: self.accepted)
    @rule()
    def receipt_with_another_mac(self) -> None:
        self.outbox.receipt(DEVICE, sign_receipt(self.device.key, DEVICE, self.device.next_seq, bytes(16), 1))

    @rule()
    def purge(self) -> None:
        # receipted records may go at any time, but those that receipts in this machine are drawn from
        newest = self.writer.connection.execute("SELECT max(received_ms) FROM records").fetchone()[0]
        delete_delivered(self.writer, (newest or 0) - 10 * DAY_MS)

    def signed(self, record: Record) -> Receipt:
        return sign_receipt(self.device.key, DEVICE, record.seq + 1, record.mac, 1)

    def rows(self, *states: int) -> list[int]:
        marks = ",".join("?" * len(states))
        return [
            seq
            for (seq,) in self.writer.connection.execute(
                f"SELECT seq FROM records WHERE state IN ({marks}) ORDER BY id",  # noqa: S608  # question marks only
                states,
            )
        ]

    @invariant()
    def nothing_leaves_without_a_receipt_and_nothing_stays_with_one(self) -> None:
        if hasattr(self, "writer"):
            assert self.rows(TO_SEND, SENT) == sorted(seq for seq in self.accepted if seq > self.receipted)
            assert all(seq <= self.receipted for seq in self.rows(RECEIPTED))

    @invariant()
    def at_most_a_window_is_in_flight(self) -> None:
        if hasattr(self, "writer"):
            assert len(self.in_flight) + self.delivery.room == WINDOW
            assert self.delivery.room >= 0

    @invariant()
    def what_counts_as_sent_was_at_the_broker(self) -> None:
        if hasattr(self, "writer"):
            assert set(self.rows(SENT)) <= self.at_broker

    def settle(self) -> None:
        """Whatever came before, everything without a receipt is published once more, also what the broker had acknowledged."""
        heard: set[int] = set()
        self.connection_replaced()
        for _ in range(2):
            self.mono_s += 4000  # the longest wait for a receipt
            self.send_again()
            self.publish()
            while self.in_flight:
                number = min(self.in_flight)
                heard.add(self.in_flight[number])
                self.puback_of(number)
                self.mark()
                self.publish()
        assert heard == {seq for seq in self.accepted if seq > self.receipted}
        self.nothing_leaves_without_a_receipt_and_nothing_stays_with_one()


OutboxMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestOutbox = OutboxMachine.TestCase
