"""The agent's database: what is durable, what leaves and what never does."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from host_agent.errors import StoreError
from host_agent.store.database import FILE_NAME, Writer
from host_agent.store.outbox import SENDS_OF_DISPUTED, Outbox, Waiting
from host_agent.store.schema import migrations
from protocol.messages import Receipt
from protocol.record import SEQ_SPAN, Record, RecordFlag, parse_record
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, delete_delivered, hello_answer
from tests.chains import PaperDevice


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def outbox(writer: Writer) -> Outbox:
    made = Outbox(writer)
    made.meet(hello_answer(), 1)
    return made


def accept(writer: Writer, records: list[Record], now_ms: int = 1000) -> None:
    with writer.transaction() as connection:
        Outbox(writer).accept(connection, DEVICE, [(record, record.pack()) for record in records], now_ms)
        Outbox(writer).advance(connection, DEVICE, records[-1].seq + 1)


def receipt_for(device: PaperDevice, record: Record) -> Receipt:
    return sign_receipt(device.key, DEVICE, record.seq + 1, record.mac, 1)


def waiting_seqs(writer: Writer) -> list[int]:
    return [seq for (seq,) in writer.connection.execute("SELECT seq FROM records WHERE state < 2 ORDER BY id")]


def test_the_schema_is_made_from_nothing_and_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        writer = Writer(tmp_path)
        names = {name for (name,) in writer.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"records", "devices", "evaluations", "facts"} <= names
        assert not list(migrations.pending(Database(writer.connection)))
        assert writer.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        writer.close()


def test_a_second_agent_is_refused_with_the_folder_named(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another agent uses this database") as caught:
        Writer(tmp_path / "data")
    assert str(tmp_path / "data") in str(caught.value)


def test_a_folder_that_cannot_be_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="check data_dir"):
        Writer(tmp_path / "file" / "data")


def test_a_database_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        Writer(tmp_path)
    (tmp_path / FILE_NAME).rmdir()
    Writer(tmp_path).close()  # and the lock was let go


@pytest.mark.parametrize("page", [0, 3])
def test_a_damaged_database_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, page: int
) -> None:
    writer = Writer(tmp_path)
    device = PaperDevice()
    Outbox(writer).meet(hello_answer(), 1)
    accept(writer, device.write_many(50))
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[page * 4096 : page * 4096 + 400] = b"\xa5" * 400
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        writer = Writer(tmp_path)
    assert "moved" in caplog.text or "damaged" in caplog.text
    assert Outbox(writer).meet(hello_answer(next_seq=51), 1) == (0, False)  # everything is asked for again
    writer.close()
    assert [bytes(content)] == [kept.read_bytes() for kept in tmp_path.glob("*.damaged-*Z")]


def test_a_transaction_that_fails_leaves_nothing_and_no_lock(writer: Writer) -> None:
    with pytest.raises(sqlite3.IntegrityError), writer.transaction() as connection:
        connection.executemany("INSERT INTO facts VALUES (?, ?)", [("a", "b"), ("a", "c")])
    with pytest.raises(sqlite3.IntegrityError), writer.transaction() as connection:
        connection.execute("INSERT INTO facts VALUES ('a', NULL)")
    with writer.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM facts").fetchone() == (0,)


def test_a_disk_that_fills_up_is_an_error_and_then_none(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    pages = writer.connection.execute("PRAGMA page_count").fetchone()[0]
    writer.connection.execute(f"PRAGMA max_page_count = {pages}")
    written = device.write_many(400)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        accept(writer, written)
    assert not writer.connection.in_transaction
    assert outbox.waiting() == Waiting(0, 0, None)
    writer.connection.execute("PRAGMA max_page_count = 100000")
    accept(writer, written)
    assert outbox.waiting().to_send == 400


def test_records_are_kept_once_in_order_and_survive(writer: Writer, outbox: Outbox, tmp_path: Path) -> None:
    device = PaperDevice()
    written = device.write_many(5)
    accept(writer, written)
    accept(writer, written[2:])
    rows = outbox.to_send(0, 100)
    assert [row.raw for row in rows] == [record.pack() for record in written]
    assert [row.id for row in outbox.to_send(rows[1].id, 2)] == [rows[2].id, rows[3].id]
    writer.close()
    again = Writer(tmp_path / "data")
    assert Outbox(again).next_seq(DEVICE) == 6
    assert Outbox(again).waiting() == Waiting(5, 0, 1000)
    again.close()


def test_two_records_with_one_number_are_both_kept_and_each_waits_for_its_own_receipt(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(4)
    liar = PaperDevice(next_seq=3, prev_mac=written[1].mac)
    lie, later_lie = liar.write(level=1), liar.write(level=1)
    accept(writer, [*written, lie, later_lie])
    assert outbox.waiting().to_send == 6
    assert outbox.receipt(DEVICE, receipt_for(device, written[3]))
    # the collection must still hear of the other two
    assert [row.raw for row in outbox.to_send(0, 100)] == [lie.pack(), later_lie.pack()]
    for turn in range(1, SENDS_OF_DISPUTED + 1):
        waiting = [row.id for row in outbox.to_send(0, 100)]
        assert len(waiting) == 2, turn
        outbox.mark_sent(waiting, turn)
        # often enough for a broker that loses what it acknowledged, and not for ever
        assert outbox.give_up_disputed() == (2 if turn == SENDS_OF_DISPUTED else 0)
        outbox.send_again(turn)
    assert outbox.waiting() == Waiting(0, 0, None)
    assert writer.connection.execute("SELECT count(*) FROM records").fetchone() == (6,)
    assert delete_delivered(writer, 2000) == 6


def test_a_number_without_a_receipted_twin_is_sent_for_ever(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(4)
    liar = PaperDevice(next_seq=4, prev_mac=written[2].mac)
    accept(writer, [*written, liar.write(level=1)])
    assert outbox.receipt(DEVICE, receipt_for(device, written[2]))
    for turn in range(1, 3 * SENDS_OF_DISPUTED):
        outbox.mark_sent([row.id for row in outbox.to_send(0, 100)], turn)
        assert outbox.give_up_disputed() == 0
        assert outbox.send_again(turn) == 2


def test_a_record_that_was_chained_to_another_than_the_one_here_is_noticed(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    accept(writer, device.write_many(3))
    other = PaperDevice(next_seq=4, prev_mac=bytes(range(16)))
    assert outbox.contradicts(DEVICE, other.write())
    assert not outbox.contradicts(DEVICE, other.write())  # nothing is known of the one before
    assert not outbox.contradicts(DEVICE, device.write())
    device.next_seq, device.prev_mac = 4, bytes(16)
    assert not outbox.contradicts(DEVICE, replace(device.write(), flags=RecordFlag.NEW_JOURNAL))


def test_a_receipt_with_another_mac_or_for_an_unknown_device_is_ignored(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(3)
    accept(writer, written)
    wrong = sign_receipt(device.key, DEVICE, 4, bytes(16), 1)
    assert not outbox.receipt(DEVICE, wrong)
    assert not outbox.receipt("PJ-9999", receipt_for(device, written[2]))
    assert not outbox.receipt(DEVICE, sign_receipt(device.key, DEVICE, 0xFFFFFFFF, written[2].mac, 1))
    assert outbox.waiting().to_send == 3
    assert outbox.last_receipt(DEVICE) is None


def test_a_receipt_before_the_puback_stays(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(3)
    accept(writer, written)
    ids = [row.id for row in outbox.to_send(0, 10)]
    assert outbox.receipt(DEVICE, receipt_for(device, written[1]))
    outbox.mark_sent(ids, 500)
    assert outbox.waiting() == Waiting(0, 1, 1000)
    assert outbox.send_again(499) == 0
    assert outbox.send_again(500) == 1
    assert [row.is_replayed for row in outbox.to_send(0, 10)] == [True]


def test_repeated_and_older_receipts_change_nothing(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(5)
    accept(writer, written)
    for index in (3, 3, 1):
        assert outbox.receipt(DEVICE, receipt_for(device, written[index]))
    kept = outbox.last_receipt(DEVICE)
    assert kept is not None
    assert kept.next_seq == 5
    assert waiting_seqs(writer) == [5]


def test_a_receipt_speaks_for_its_own_journal_only(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    old = device.write_many(4)
    device.new_journal()
    new = device.write_many(3)
    assert new[0].seq == SEQ_SPAN + 1
    accept(writer, [*old, *new])
    assert outbox.receipt(DEVICE, receipt_for(device, new[2]))
    assert waiting_seqs(writer) == [1, 2, 3, 4]
    # and the older one, whose number is smaller, still counts
    assert outbox.receipt(DEVICE, receipt_for(device, old[3]))
    assert waiting_seqs(writer) == []
    kept = outbox.last_receipt(DEVICE)
    assert kept is not None
    assert kept.next_seq == SEQ_SPAN + 4


def test_a_device_whose_numbers_went_back_is_read_from_the_start(writer: Writer, outbox: Outbox) -> None:
    accept(writer, PaperDevice().write_many(30))
    assert outbox.meet(hello_answer(next_seq=31), 1) == (31, False)
    assert outbox.meet(hello_answer(next_seq=12), 1) == (0, True)
    # and stays so: what it wrote while it was away must not be taken for what the old numbers named
    assert outbox.meet(hello_answer(next_seq=40), 1) == (0, False)


def test_running_time_goes_on_after_a_restart(writer: Writer, outbox: Outbox) -> None:
    assert outbox.latest_sent_run_ms() == 0
    accept(writer, PaperDevice().write_many(2))
    outbox.mark_sent([row.id for row in outbox.to_send(0, 1)], 77_000)
    assert outbox.latest_sent_run_ms() == 77_000


def test_waiting_is_a_duration_and_never_negative() -> None:
    assert Waiting(1, 0, 5000).oldest_for_ms(8000) == 3000
    assert Waiting(1, 0, 5000).oldest_for_ms(1000) == 0
    assert Waiting(0, 0, None).oldest_for_ms(1000) is None


def test_records_that_were_in_the_device_before_hello_are_marked_as_replayed(writer: Writer, outbox: Outbox) -> None:
    records = [(record, record.pack()) for record in PaperDevice().write_many(4)]
    with writer.transaction() as connection:
        outbox.accept(connection, DEVICE, records, 1, replayed_before_seq=3)
    assert [row.is_replayed for row in outbox.to_send(0, 10)] == [True, True, False, False]


def test_only_what_was_acknowledged_is_marked_in_whatever_order(writer: Writer, outbox: Outbox) -> None:
    accept(writer, PaperDevice().write_many(9))
    ids = [row.id for row in outbox.to_send(0, 100)]
    outbox.mark_sent([ids[at] for at in (7, 1, 2, 4, 3)], 1)
    assert [row.id for row in outbox.to_send(0, 100)] == [ids[at] for at in (0, 5, 6, 8)]


def test_what_was_passed_over_and_has_no_receipt_is_asked_for_again(writer: Writer, outbox: Outbox) -> None:
    written = PaperDevice().write_many(6)
    outbox.meet(hello_answer(), 0)
    with writer.transaction() as connection:
        outbox.accept(connection, DEVICE, [(record, record.pack()) for record in written if record.seq != 3], 0)
        outbox.advance(connection, DEVICE, 7)
    assert outbox.meet(hello_answer(next_seq=7, receipt_seq=2), 0) == (7, False)  # record 2 is here
    assert outbox.meet(hello_answer(next_seq=7, receipt_seq=3), 0) == (3, False)
    assert outbox.meet(hello_answer(next_seq=7, receipt_seq=7), 0) == (3, False)


def test_what_a_refused_receipt_released_is_sent_again_a_few_times_at_once_and_then_when_its_turn_comes(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    outbox = Outbox(writer)
    device = PaperDevice()
    outbox.meet(hello_answer(), 0)
    with writer.transaction() as connection:
        outbox.accept(connection, device.device, [(record, record.pack()) for record in device.write_many(5)], 0)

    def receipt(next_seq: int, mac: bytes) -> Receipt:
        return Receipt(next_seq=next_seq, record_mac=device.written[next_seq - 2].mac, issued_ms=1, mac=mac)

    def waiting() -> list[int]:
        return [parse_record(row.raw).seq for row in outbox.to_send(0, 100)]

    genuine, forged = receipt(3, b"g" * 16), receipt(6, b"f" * 16)
    assert outbox.receipt(device.device, genuine)
    for _ in range(SENDS_OF_DISPUTED):
        assert outbox.receipt(device.device, forged)
        assert (waiting(), outbox.last_receipt(device.device)) == ([], forged)
        assert outbox.put_back(device.device, forged, 3, 1000) == 3
        assert (waiting(), outbox.last_receipt(device.device)) == ([3, 4, 5], None)
    assert outbox.receipt(device.device, receipt(4, b"h" * 16))  # a genuine one below the forged one counts again
    assert waiting() == [4, 5]
    outbox.receipt(device.device, forged)
    assert outbox.put_back(device.device, forged, 3, 1000) == 3  # the fourth too: it was in doubt as the others
    assert waiting() == []
    assert outbox.send_again(999) == 0
    assert outbox.send_again(1000) == 3
    assert waiting() == [3, 4, 5]
    writer.close()


def test_a_device_that_has_lost_its_latest_receipt_is_given_it_or_its_records_are_sent_again(
    writer: Writer, outbox: Outbox
) -> None:
    device = PaperDevice()
    written = device.write_many(4)
    accept(writer, written)
    receipt = receipt_for(device, written[3])
    assert outbox.receipt(DEVICE, receipt)
    outbox.meet(hello_answer(next_seq=5, receipt_seq=1), 1)
    assert (outbox.last_receipt(DEVICE), waiting_seqs(writer)) == (receipt, [])
    assert outbox.put_back(DEVICE, receipt, 5, 1000) == 0  # refused by a device that had already taken a genuine one
    outbox.meet(hello_answer(next_seq=5, receipt_seq=3), 1)
    assert waiting_seqs(writer) == [3, 4]


def test_the_receipt_that_follows_a_refused_one_is_kept_for_the_next_hello(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(2)
    accept(writer, written)
    genuine = receipt_for(device, written[1])
    forged = replace(genuine, mac=bytes(16))
    assert outbox.receipt(DEVICE, forged)
    outbox.put_back(DEVICE, forged, 3, 1000)
    assert outbox.receipt(DEVICE, genuine)
    assert outbox.last_receipt(DEVICE) == genuine
