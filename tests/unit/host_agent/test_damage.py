"""A database that is damaged, before the start or while the agent runs: put aside, never looped on, and the agent works again."""

from __future__ import annotations

import logging
import random
import sqlite3
from pathlib import Path

import pytest

from host_agent.agent import LOOK_AT_FILE_EVERY_S, Agent
from host_agent.attendance import Attendance
from host_agent.config import load
from host_agent.desk import Desk
from host_agent.errors import DamagedError, StoreError
from host_agent.evaluations import Evaluation
from host_agent.store import damage, database
from host_agent.store.absences import AbsenceStore
from host_agent.store.damage import FAILURES, is_damage
from host_agent.store.database import FILE_NAME, INSTALLATION_FILE, Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox
from host_agent.surroundings import Surroundings
from host_agent.uplink.mqtt import Broker
from host_agent.uplink.publisher import Publisher
from protocol.messages import Receipt
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, at, delete_delivered, hello_answer
from tests.chains import CASE, EVALUATION, WINDOW, PaperDevice
from tests.unit.host_agent.test_agent import CONFIG
from tests.unit.host_agent.test_publisher import PaperLink

EVALUATION_ID = EVALUATION.hex()


def fill(folder: Path) -> tuple[PaperDevice, Receipt]:
    """A database with everything in it; checkpointed, so that what is damaged afterwards is all there is."""
    device = PaperDevice()
    writer = Writer(folder)
    outbox = Outbox(writer)
    outbox.meet(hello_answer(), 1)
    EvaluationStore(writer).add(Evaluation(EVALUATION_ID, CASE, 60_000, 1, key="k", staff="017"))
    written = [*device.write_many(20), device.write(evaluation=EVALUATION, case=CASE)]
    twin = device.fork()
    twin.next_seq, twin.prev_mac = 5, bytes(range(16))
    with writer.transaction() as connection:
        outbox.accept(connection, DEVICE, [(one, one.pack()) for one in [*written, twin.write(level=1)]], 1)
        outbox.advance(connection, DEVICE, device.next_seq)
    receipt = sign_receipt(device.key, DEVICE, 11, written[9].mac, 1)
    outbox.mark_sent(range(1, 15), 1)
    assert outbox.receipt(DEVICE, receipt)
    attendance = Attendance(AbsenceStore(writer), Surroundings(asleep_s=lambda: 0.0), lambda: "017")
    for number in range(20):  # all are over but the last
        attendance.met(DEVICE, at(20.0 * number))
        attendance.step(at(20.0 * number + 11))
        attendance.lost("silent", at(20.0 * number + 12))
        attendance.step(at(20.0 * number + 12))
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    return device, sign_receipt(device.key, DEVICE, 16, written[14].mac, 1)


def work(folder: Path, receipt: Receipt) -> None:
    """Everything that an agent asks of its database."""
    writer = Writer(folder)
    try:
        outbox, store = Outbox(writer), EvaluationStore(writer)
        outbox.meet(hello_answer(next_seq=30), 2)
        outbox.last_receipt(DEVICE)
        late = LateCaseStore(writer)
        absences = AbsenceStore(writer)
        attendance = Attendance(absences, Surroundings(asleep_s=lambda: 0.0), lambda: "017")
        attendance.step(at(0))
        attendance.lost("unplugged", at(1))
        attendance.step(at(1))
        Desk(None, store, late, random.randbytes)  # type: ignore[arg-type]  # nobody asks it for anything
        store.get(EVALUATION_ID)
        store.by_key("k")
        publisher = Publisher(
            Broker("broker", 1),
            "client",
            WINDOW,
            outbox,
            late,
            absences,
            lambda what: what(at(1)),
            lambda *_: None,
            PaperLink,
            lambda: at(1),
        )
        publisher.start(at(1))
        PaperLink.made[-1].listener.connected("a" * 32)
        publisher.step(at(1))
        outbox.mark_sent(range(1, 25), 1)
        outbox.receipt(DEVICE, receipt)
        outbox.send_again(10)
        publisher.step(at(4000))
        late.recent(5)
        late.purge()
        delete_delivered(writer, 3)
        more = PaperDevice(next_seq=40, prev_mac=bytes(range(16))).write_many(3)
        with writer.transaction() as connection:
            outbox.accept(connection, DEVICE, [(one, one.pack()) for one in more], 3)
    except FAILURES as error:
        if not is_damage(error):
            raise
        writer.condemn()
        raise
    finally:
        writer.close()


def test_whatever_is_flipped_on_the_disk_the_second_start_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """Anything but damage that is known as such would end every start at the same place."""
    caplog.set_level(logging.CRITICAL)
    folder = tmp_path / "data"
    _device, receipt = fill(folder)
    good = (folder / FILE_NAME).read_bytes()
    used = [place for place, byte in enumerate(good) if byte]
    at_start = while_running = 0
    for seed in range(3000 if request.config.getoption("--long") else 250):
        draw = random.Random(seed)
        for file in folder.iterdir():
            file.unlink()
        content = bytearray(good)
        for _ in range(draw.choice((1, 1, 5, 40))):
            content[draw.choice(used)] = draw.randrange(256)
        (folder / FILE_NAME).write_bytes(content)
        PaperLink.made.clear()
        try:
            work(folder, receipt)
        except FAILURES:
            while_running += 1
            work(folder, receipt)
            assert list(folder.glob("*.damaged-*Z")), seed
        else:
            at_start += bool(list(folder.glob("*.damaged-*Z")))
    assert at_start > 10
    assert while_running > 10


def test_a_file_that_forbids_to_write_on_a_disk_that_does_not_is_damage(tmp_path: Path) -> None:
    """As with some headers of nonsense, which SQLite takes for those of a later SQLite."""
    Writer(tmp_path).close()
    connection = sqlite3.connect(f"file:{tmp_path / FILE_NAME}?mode=ro", uri=True, isolation_level=None)
    with pytest.raises(sqlite3.DatabaseError, match="newer SQLite") as caught:
        database._must_be_writable(connection, tmp_path / FILE_NAME)
    assert is_damage(caught.value)
    connection.execute("ROLLBACK")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):  # the disk's own doing
        database._must_be_writable(connection, tmp_path / "none")
    connection.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


def spoil(agent: Agent) -> None:
    """Have the next read of the records table find a page of nonsense."""
    connection = agent._writer.connection
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records'").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    with (agent._config.data_dir / FILE_NAME).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    connection.execute("PRAGMA shrink_memory")


def test_damage_found_while_running_ends_the_agent_and_the_next_start_begins_a_new_database(config: Path) -> None:
    agent = Agent(load(config))
    with agent._writer.transaction() as connection:
        Outbox(agent._writer).accept(connection, DEVICE, [(one, one.pack()) for one in PaperDevice().write_many(3)], 1)
    spoil(agent)
    asked = agent.status()
    with pytest.raises(DamagedError, match="start the agent again"):
        agent.turn()
    assert isinstance(asked.exception(0), sqlite3.DatabaseError)  # who asked is answered all the same
    agent.end()
    again = Agent(load(config))
    report = again.status()
    again.turn()
    (aside,) = report.result(0).databases_set_aside
    assert aside.startswith(f"{FILE_NAME}.damaged-20")
    again.end()


def test_a_database_that_fails_though_no_check_finds_anything_is_put_aside_at_the_next_start(config: Path) -> None:
    """A value of another type in a row: SQLite finds nothing wrong with it."""
    agent = Agent(load(config))
    EvaluationStore(agent._writer).add(Evaluation(EVALUATION_ID, CASE, 60_000, 1))
    agent._writer.connection.execute("UPDATE evaluations SET case_json = '{'")
    agent.end()
    with pytest.raises(DamagedError):
        Agent(load(config))
    Agent(load(config)).end()


def test_a_database_deleted_or_replaced_while_in_use_is_noticed(config: Path) -> None:
    agent = Agent(load(config))
    agent._look_at_file(at(0))
    file = agent._config.data_dir / FILE_NAME
    file.rename(file.with_name("elsewhere"))
    agent._look_at_file(at(LOOK_AT_FILE_EVERY_S - 1))
    with pytest.raises(DamagedError, match="deleted or replaced"):
        agent._look_at_file(at(LOOK_AT_FILE_EVERY_S))
    file.write_bytes(b"")
    with pytest.raises(DamagedError, match="deleted or replaced"):
        agent._look_at_file(at(2 * LOOK_AT_FILE_EVERY_S))
    agent.end()


def test_two_databases_put_aside_in_one_second_are_both_kept(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        (tmp_path / FILE_NAME).write_bytes(content)
        (tmp_path / f"{FILE_NAME}-wal").write_bytes(content)
        damage.set_aside(tmp_path / FILE_NAME, "why")
    assert len(damage.set_aside_files(tmp_path / FILE_NAME)) == 2
    assert {file.read_bytes() for file in tmp_path.glob("*-wal")} == {b"first", b"second"}


def test_a_connection_that_cannot_recover_is_replaced(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    error = sqlite3.OperationalError("disk I/O error")
    old = writer.connection
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    writer.reopen_after(error)
    assert writer.connection is old
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR | 10 << 8
    writer.reopen_after(error)
    assert writer.connection is not old
    with writer.transaction() as connection:
        connection.execute("INSERT INTO facts VALUES ('a', 'b')")
    assert writer.is_in_place()
    writer.close()


def test_the_name_at_the_broker_outlives_the_database_and_belongs_to_one_window(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    first = writer.client_id("533103/dating/07")
    other = writer.client_id("533103/dating/08")
    writer.close()
    (tmp_path / FILE_NAME).unlink()
    writer = Writer(tmp_path)
    assert writer.client_id("533103/dating/07") == first != other
    (tmp_path / INSTALLATION_FILE).write_text("")  # torn by a power cut, or emptied to have another one drawn
    assert writer.client_id("533103/dating/07") != first
    (tmp_path / INSTALLATION_FILE).unlink()
    (tmp_path / INSTALLATION_FILE).mkdir()
    with pytest.raises(StoreError, match="installation"):
        writer.client_id("533103/dating/07")
    writer.close()


def test_a_value_that_is_too_big_was_never_written_here() -> None:
    with sqlite3.connect(":memory:") as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute("SELECT zeroblob(2000000000)")
    assert is_damage(caught.value)
