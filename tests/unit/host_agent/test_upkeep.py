"""What has been delivered is forgotten in time and in small pieces; what has not, never."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_agent.agent import DAY_MS, Agent
from host_agent.config import load
from host_agent.evaluations import Evaluation
from host_agent.store.database import FILE_NAME, MOST_LOG_BYTES, Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.outbox import SENDS_OF_DISPUTED, Outbox
from host_agent.store.schema import RECEIPTED
from host_agent.store.upkeep import LATE_MS, LITTLE_ROOM_BYTES, LOOK_EVERY_S, STOCK_BYTES, WALK_EVERY_S, Upkeep
from protocol.record import Kind, Record
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, at, delete_delivered, hello_answer
from tests.chains import CASE, EPOCH_MS, EVALUATION, PaperDevice
from tests.unit.host_agent.test_agent import CONFIG


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "data")
    Outbox(made).meet(hello_answer(), 1)
    yield made
    made.close()


@pytest.fixture
def outbox(writer: Writer) -> Outbox:
    return Outbox(writer)


def accept(writer: Writer, records: list[Record], now_ms: int = 1000) -> None:
    with writer.transaction() as connection:
        Outbox(writer).accept(connection, DEVICE, [(record, record.pack()) for record in records], now_ms)


def receipt(writer: Writer, device: PaperDevice, record: Record) -> None:
    assert Outbox(writer).receipt(DEVICE, sign_receipt(device.key, DEVICE, record.seq + 1, record.mac, 1))


def seqs(writer: Writer) -> list[int]:
    return [seq for (seq,) in writer.connection.execute("SELECT seq FROM records ORDER BY id")]


def test_what_is_old_goes_when_it_was_delivered_and_never_gives_a_number_twice(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    written = device.write_many(4)
    accept(writer, written[:3])
    last_id = outbox.to_send(0, 10)[-1].id
    outbox.mark_sent([last_id], 1)
    assert delete_delivered(writer, 10_000) == 0
    receipt(writer, device, written[1])
    assert delete_delivered(writer, 1000) == 0
    assert delete_delivered(writer, 1001) == 2
    receipt(writer, device, written[2])
    assert delete_delivered(writer, 1001) == 1
    # an empty table again: a publisher that has come to the last id must still see the next record
    accept(writer, written[3:])
    assert [row.raw for row in outbox.to_send(last_id, 10)] == [written[3].pack()]


def test_a_record_from_a_clock_that_was_wrong_keeps_nothing_else(writer: Writer) -> None:
    device = PaperDevice()
    accept(writer, device.write_many(600), EPOCH_MS + 1000 * DAY_MS)
    accept(writer, device.write_many(600), EPOCH_MS)
    receipt(writer, device, device.written[-1])
    assert delete_delivered(writer, EPOCH_MS + 1) == 600
    assert seqs(writer) == list(range(1, 601))


def test_old_evaluations_go_with_their_records(writer: Writer) -> None:
    store = EvaluationStore(writer)
    open_one = Evaluation(id="1" * 32, case=CASE, timeout_ms=1, created_ms=1)
    rated = Evaluation(id=EVALUATION.hex(), case=CASE, timeout_ms=1, created_ms=1).after_record(Kind.RATING, 2)
    failed = Evaluation(id="3" * 32, case=CASE, timeout_ms=1, created_ms=1).failed("no_answer", 2)
    for evaluation in (open_one, rated, failed):
        store.add(evaluation)
    device = PaperDevice()
    accept(writer, [device.write(evaluation=EVALUATION, case=CASE)])
    delete_delivered(writer, 5000)
    assert store.get(open_one.id) == open_one
    assert store.get(rated.id) == rated
    assert store.get(failed.id) is None
    receipt(writer, device, device.written[0])
    delete_delivered(writer, 5000)
    assert store.get(rated.id) is None
    assert store.get(open_one.id) == open_one


def fill(writer: Writer, device: PaperDevice, count: int) -> None:
    """Records of which each has an evaluation of its own, as in a hall."""
    store = EvaluationStore(writer)
    for _ in range(count):
        evaluation = device.next_seq.to_bytes(16, "big")
        store.add(Evaluation(evaluation.hex(), CASE, 60_000, EPOCH_MS).after_record(Kind.RATING, EPOCH_MS))
        accept(writer, [device.write(evaluation=evaluation, case=CASE)], EPOCH_MS)


def test_a_database_that_is_too_large_loses_its_oldest_and_the_file_stays_as_it_is(writer: Writer) -> None:
    device = PaperDevice()
    fill(writer, device, 300)
    receipt(writer, device, device.written[199])
    used = Upkeep(writer, 0, 0, lambda: 1 << 40).used_bytes()
    assert delete_delivered(writer, 0, most_bytes=used) == 0, "not too large"
    bound = used - 12 * 4096
    assert 50 <= delete_delivered(writer, 0, most_bytes=bound) < 200
    kept = seqs(writer)
    assert kept == list(range(kept[0], 301))
    assert Upkeep(writer, 0, 0, lambda: 1 << 40).used_bytes() <= bound
    (evaluations,) = writer.connection.execute("SELECT count(*) FROM evaluations").fetchone()
    assert evaluations == len(kept), "evaluations go with their records"
    pages = writer.connection.execute("PRAGMA page_count").fetchone()
    fill(writer, device, 40)
    assert writer.connection.execute("PRAGMA page_count").fetchone() == pages, "what became free is used again"


def test_undelivered_records_are_kept_however_many_they_are(writer: Writer, outbox: Outbox) -> None:
    device = PaperDevice()
    fill(writer, device, 60)
    outbox.mark_sent(range(1, 31), 1)
    upkeep = Upkeep(writer, 0, 1, lambda: 0)
    for second in range(200):
        assert upkeep.step(at(60.0 * second, EPOCH_MS + 1000 * DAY_MS)) == 0
    assert seqs(writer) == list(range(1, 61))
    assert writer.connection.execute("SELECT count(*) FROM evaluations").fetchone() == (60,)
    assert upkeep.is_over()


def test_an_evaluation_without_its_record_stays_until_that_could_have_come(writer: Writer) -> None:
    EvaluationStore(writer).add(Evaluation("1" * 32, CASE, 1, EPOCH_MS).device_lost(EPOCH_MS))
    over = Upkeep(writer, 1000 * DAY_MS, 1, lambda: 1 << 40)
    for hour in range(0, 24 * 9, 3):
        for second in range(5):
            over.step(at(hour * 3600.0 + second, EPOCH_MS))
        held = writer.connection.execute("SELECT count(*) FROM evaluations").fetchone()[0]
        if hour * 3_600_000 < LATE_MS:
            assert held == 1
    assert held == 0


def test_what_decides_about_a_record_that_waits_is_kept_with_it(writer: Writer, outbox: Outbox) -> None:
    """Two records with one number: which of them is in the chain is seen by the one after it, and only then the other is given up."""
    device = PaperDevice()
    written = device.write_many(6)
    lie = PaperDevice(next_seq=4, prev_mac=written[2].mac).write(level=1)
    accept(writer, [*written, lie])
    receipt(writer, device, written[5])
    assert delete_delivered(writer, 0, most_bytes=1) == 4
    assert sorted(seqs(writer)) == [4, 4, 5]
    for turn in range(SENDS_OF_DISPUTED):
        outbox.mark_sent([row.id for row in outbox.to_send(0, 10)], turn)
        outbox.send_again(turn) if turn < SENDS_OF_DISPUTED - 1 else outbox.give_up_disputed()
    assert delete_delivered(writer, 0, most_bytes=1) == 3


def test_a_disk_with_little_room_gets_a_stock_of_free_pages_from_what_is_delivered(writer: Writer) -> None:
    row = (DEVICE, bytes(128), EPOCH_MS, RECEIPTED)
    with writer.transaction() as connection:
        connection.executemany(
            "INSERT INTO records (device, seq, mac, raw, received_ms, replayed, state) VALUES (?1, ?5, ?5, ?2, ?3, 0, ?4)",
            [(*row, seq) for seq in range(10_000, 22_000)],
        )
    assert delete_delivered(writer, 0, free_bytes=LITTLE_ROOM_BYTES) == 0
    deleted = delete_delivered(writer, 0, free_bytes=LITTLE_ROOM_BYTES - 1)
    assert 0 < deleted < 12_000
    (free,) = writer.connection.execute("PRAGMA freelist_count").fetchone()
    assert STOCK_BYTES <= free * 4096 < STOCK_BYTES + 50 * 4096
    (pages,) = writer.connection.execute("PRAGMA page_count").fetchone()
    writer.connection.execute(f"PRAGMA max_page_count = {pages}")  # the disk is full now
    accept(writer, PaperDevice().write_many(1_000))


def test_disk_and_age_are_looked_at_again_and_again(writer: Writer) -> None:
    room = 1 << 40
    upkeep = Upkeep(writer, DAY_MS, 1 << 40, lambda: room)
    for second in range(10):
        upkeep.step(at(float(second)))
    device = PaperDevice()
    accept(writer, device.write_many(100), EPOCH_MS)
    receipt(writer, device, device.written[-1])
    assert [upkeep.step(at(LOOK_EVERY_S + second)) for second in range(3)] == [0, 0, 0]
    room = 0
    assert [upkeep.step(at(2 * LOOK_EVERY_S + second)) for second in range(3)] == [50, 50, 0]
    accept(writer, device.write_many(1), EPOCH_MS)
    receipt(writer, device, device.written[-1])
    room = 1 << 40
    assert sum(upkeep.step(at(WALK_EVERY_S + second)) for second in range(3)) == 0
    assert sum(upkeep.step(at(2 * WALK_EVERY_S + second, EPOCH_MS + DAY_MS)) for second in range(3)) == 1


def test_after_a_reader_that_stayed_long_the_log_is_cut_back(writer: Writer, tmp_path: Path) -> None:
    log = tmp_path / "data" / f"{FILE_NAME}-wal"
    device = PaperDevice()
    reader = sqlite3.connect(tmp_path / "data" / FILE_NAME, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchone()
    while log.stat().st_size < 2 * MOST_LOG_BYTES:
        with writer.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('much', ?)", ("x" * 1_000_000,))
    reader.close()
    for _ in range(3):
        accept(writer, device.write_many(10))
    assert log.stat().st_size <= MOST_LOG_BYTES + (1 << 20)


def test_the_agent_does_it_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("retention_days = 1\n" + CONFIG, encoding="utf-8")
    agent = Agent(load(file))
    agent._outbox.meet(hello_answer(), 1)
    device = PaperDevice()
    accept(agent._writer, device.write_many(3), 1)
    receipt(agent._writer, device, device.written[1])
    asked = None
    agent.turn()
    asked = agent.status()
    agent.turn()
    report = asked.result(0)
    assert report.counters["records_deleted"] == 2
    assert seqs(agent._writer) == [3]
    assert report.database_most_bytes == 256_000_000
    assert 10_000 < report.database_bytes < 1_000_000
    agent.end()
