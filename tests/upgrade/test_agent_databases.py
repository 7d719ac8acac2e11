"""Databases that earlier agents have written, opened by this one; and one that a later agent has written, opened by this one again.

`agent-NNNN.sql` is the dump of a database whose newest migration was that one, with a record in each state. A new migration
brings a dump of the state before it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from host_agent.store.database import FILE_NAME, Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.outbox import Outbox, Waiting
from host_agent.store.schema import migrations
from protocol.record import parse_record
from tests.chains import CASE, EVALUATION, PaperDevice

HERE = Path(__file__).parent
OLD = sorted(HERE.glob("agent-*.sql"))
WHOLE = {1, 2, 3, 4}


def restored(folder: Path, dump: Path) -> Path:
    folder.mkdir()
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    return folder


def names() -> list[str]:
    """Return the migrations' names, oldest first."""
    return [migration.name for migration in migrations.pending(Database(memory=True))]


def test_there_is_a_dump_of_every_state_but_the_newest() -> None:
    assert [dump.stem.removeprefix("agent-") for dump in OLD] == [name[:4] for name in names()[:-1]]


@pytest.mark.parametrize("dump", OLD, ids=lambda dump: dump.stem)
def test_an_old_database_keeps_everything_and_goes_on(tmp_path: Path, dump: Path) -> None:
    folder = restored(tmp_path / "data", dump)
    for _ in range(2):  # at the upgrade, and at the start after it
        writer = Writer(folder)
        assert writer.set_aside() == []
        outbox = Outbox(writer)
        assert outbox.waiting() == Waiting(to_send=1, sent=2, oldest_ms=1_780_000_000_002)
        (row,) = outbox.to_send(0, 10)
        assert parse_record(row.raw).seq == 4
        assert outbox.next_seq("PJ-0001") == 5
        assert outbox.latest_sent_run_ms() == 11
        evaluation = EvaluationStore(writer).by_key("BJ-1")
        assert evaluation is not None
        assert (evaluation.id, evaluation.case) == (EVALUATION.hex(), CASE)
        writer.close()
    writer = Writer(folder)
    device = PaperDevice()
    written = device.write_many(6)
    outbox = Outbox(writer)
    with writer.transaction() as connection:
        outbox.accept(connection, "PJ-0001", [(record, record.pack()) for record in written[4:]], 1)
    assert [row.id for row in outbox.to_send(0, 10)] == [4, 5, 6], "after the numbers that were used"
    assert outbox.send_again(100) == 2
    assert outbox.waiting().to_send == 5
    writer.close()


def test_an_upgrade_that_is_cut_off_is_made_whole_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = restored(tmp_path / "data", OLD[0])

    def dies(_database: Database) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations._migrations[-1], "fn", dies)
    with pytest.raises(KeyboardInterrupt):
        Writer(folder)
    monkeypatch.undo()
    connection = sqlite3.connect(folder / FILE_NAME)
    applied = [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations")]
    connection.close()
    assert applied == names()[:1], "all of it or nothing"
    writer = Writer(folder)
    assert Outbox(writer).waiting().sent == 2
    writer.close()


def test_a_database_of_a_later_agent_is_used_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    writer = Writer(folder)
    writer.connection.execute("ALTER TABLE records ADD COLUMN later TEXT")
    writer.connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")
    writer.connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('host_agent', '9999_later', '2030-01-01')"
    )
    writer.close()
    writer = Writer(folder)
    assert writer.set_aside() == []
    device = PaperDevice()
    outbox = Outbox(writer)
    with writer.transaction() as connection:
        outbox.accept(connection, "PJ-0001", [(record, record.pack()) for record in device.write_many(4)], 1)
    assert {parse_record(row.raw).seq for row in outbox.to_send(0, 10)} == WHOLE
    writer.close()


def test_what_a_migration_adds_does_not_stop_the_agent_before_it() -> None:
    """An older agent's INSERT names no column that came later: each of those must do without a value."""
    before = Database(memory=True)
    migrations.apply(before, stop_before=names()[1])
    now = Database(memory=True)
    migrations.apply(now)
    for table in before.table_names():
        old = {column.name for column in before[table].columns}
        new = {column.name: column for column in now[table].columns}
        assert old <= new.keys(), "nothing is renamed or taken away"
        assert all(not new[name].notnull or new[name].default_value is not None for name in new.keys() - old)
