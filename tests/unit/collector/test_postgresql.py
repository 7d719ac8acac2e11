"""The collector on a real PostgreSQL server: who may write, what a commit is worth, and what becomes of a server that goes away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from collector.errors import StoreError
from collector.ingest.core import Ingest, Message
from collector.ingest.counters import Counters
from collector.ingest.pipeline import Pipeline
from collector.store import postgresql as module
from collector.store.postgresql import LOCK, PostgresDatabase
from collector.store.tables import metadata, records
from collector.store.trouble import is_about_the_data, sentence
from simulator.postgresql import Cluster, running_cluster
from tests.chains import EPOCH_MS, HALL_KEY, PaperDevice
from tests.databases import Opened, new_database
from tests.hall import eventually
from tests.unit.collector.test_pages import Site
from tests.unit.collector.test_pipeline import WAIT_S, PaperBroker


@pytest.fixture
def url(cluster: Cluster) -> str:
    return new_database(cluster)


@contextmanager
def opened(url: str, password: str | None = None) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(url, password)
    try:
        yield database
    finally:
        database.close()


def ingest(database: PostgresDatabase) -> Ingest:
    return Ingest(database.writer, {"533103/dating": HALL_KEY})


def messages(device: PaperDevice, count: int) -> list[Message]:
    return [Message(*device.message(record)) for record in device.write_many(count)]


def stored(database: PostgresDatabase) -> int:
    with database.reader.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(records)).scalar_one())


def test_the_migrations_make_exactly_the_tables_and_run_once(url: str) -> None:
    for _ in range(2):
        with opened(url) as database, database.writer.begin() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_second_collector_on_the_same_database_is_refused_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCKED_S", 0.2)
    with opened(url), pytest.raises(StoreError, match="另一个归集程序正在使用该数据库 another collector is using the database"):
        PostgresDatabase(url, None)
    with opened(url):
        pass


def test_who_loses_the_session_loses_the_lock_and_writes_nothing_until_it_is_free(url: str) -> None:
    device = PaperDevice()
    with opened(url) as database:
        ours = ingest(database)
        ours.take(messages(device, 2), EPOCH_MS)
        with psycopg.connect(url) as another:
            # of this database only: other tests have theirs on the same server
            another.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database"
                " WHERE locktype = 'advisory' AND d.datname = current_database()"
            )
            another.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            waiting = messages(device, 2)
            for because in ("terminating connection", "another collector"):  # the session is gone, then the lock is taken
                with pytest.raises(sa.exc.OperationalError, match=because) as refused:
                    ours.take(waiting, EPOCH_MS)
                assert not is_about_the_data(refused.value)
            assert "another collector is using" in sentence(refused.value)
            assert stored(database) == 2
        ours.take(waiting, EPOCH_MS)
        assert stored(database) == 4


def test_a_commit_is_on_disk_whatever_the_servers_setting(url: str, caplog: pytest.LogCaptureFixture) -> None:
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off'.encode())
    with opened(url) as database:
        for _ in range(2):
            with database.writer.connect() as writing:
                assert writing.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
                writing.rollback()
        with database.writer.connect() as writing:
            assert writing.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
    assert "has synchronous_commit = off" in caplog.text


def test_a_server_that_does_not_sync_is_refused(cluster: Cluster, url: str) -> None:
    try:
        for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
            assert cluster.sql(statement).returncode == 0
        eventually("the server has it", lambda: cluster.sql("SHOW fsync").stdout.strip() == "off")
        with pytest.raises(StoreError, match="set fsync = on"):
            PostgresDatabase(url, None)
    finally:
        for statement in ("ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()"):
            cluster.sql(statement)
    eventually("the server syncs again", lambda: cluster.sql("SHOW fsync").stdout.strip() == "on")


def test_a_database_that_cannot_hold_chinese_is_refused(cluster: Cluster) -> None:
    made = cluster.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    assert made.returncode == 0, made.stderr
    with pytest.raises(StoreError, match=r"SQL_ASCII.*ENCODING 'UTF8'"):
        PostgresDatabase(cluster.url("ascii"), None)


@pytest.mark.parametrize("address", ["postgresql://collector@127.0.0.1:1/ratings", "postgresql://collector@/r?host=/nowhere"])
def test_a_server_that_is_not_there_is_told_without_the_password(address: str) -> None:
    with pytest.raises(StoreError, match="cannot use the database server at postgresql://collector") as refused:
        PostgresDatabase(address, "s3cret")
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(refused.value.__cause__)


def test_readers_see_one_moment_and_cannot_write(url: str) -> None:
    device = PaperDevice()
    with opened(url) as database, database.reader.connect() as reading:
        count = sa.select(sa.func.count()).select_from(records)
        assert reading.execute(count).scalar() == 0
        ingest(database).take(messages(device, 3), EPOCH_MS)
        assert reading.execute(count).scalar() == 0
        reading.rollback()
        assert reading.execute(count).scalar() == 3
        with pytest.raises(sa.exc.InternalError, match="read-only"):
            reading.execute(sa.delete(records))


@pytest.mark.parametrize(
    ("statement", "about_the_data"),
    [
        ("SELECT 1 / 0", True),
        ("INSERT INTO alembic_version SELECT * FROM alembic_version", True),
        ("SELECT * FROM no_such_table", False),
        ("SET ROLE pg_monitor; DELETE FROM records", False),
        ("SET TRANSACTION READ ONLY; DELETE FROM records", False),
    ],
)
def test_only_what_will_not_change_is_about_the_data(url: str, statement: str, about_the_data: bool) -> None:
    with opened(url) as database, database.writer.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError) as refused:
            connection.exec_driver_sql(statement)
        assert is_about_the_data(refused.value) is about_the_data


def test_a_locked_table_is_tried_again_and_does_not_hang(url: str) -> None:
    with opened(url) as database, psycopg.connect(url) as another:
        another.execute("LOCK TABLE records")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout") as refused:
            ingest(database).take(messages(PaperDevice(), 1), EPOCH_MS)
        assert not is_about_the_data(refused.value)


def test_while_the_server_is_gone_nothing_is_acknowledged_and_then_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running_cluster() as own, opened(own.create("ratings")) as database:
        broker, counters, device = PaperBroker(), Counters(), PaperDevice()
        pipeline = Pipeline(broker, ingest(database), counters, lambda: None)
        pipeline.start()
        broker.deliver(1, device.message(device.write()))
        assert broker.acknowledged.get(timeout=WAIT_S) == 1
        own.kill()
        broker.deliver(2, device.message(device.write()))
        eventually("it has tried in vain", lambda: counters.snapshot().get("store_retries", 0) >= 3)
        assert broker.acknowledged.empty()
        page = Site(Opened(database.writer, database.reader, database.close)).get("/api/v1/ratings")
        assert (page.status_code, "数据库服务器" in page.text) == (503, True)
        own.start()
        assert broker.acknowledged.get(timeout=WAIT_S) == 2
        pipeline.stop()
        assert stored(database) == 2
    assert "数据库服务器已断开 the database server is gone" in caplog.text
    assert "数据库已恢复 the database takes writes again" in caplog.text
    assert "Traceback" not in caplog.text


def test_the_driver_is_an_extra_and_its_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from collector.config import Config, StoreConfig
    from collector.store.database import open_store

    monkeypatch.setitem(sys.modules, "collector.store.postgresql", None)
    config = Config(data_dir=tmp_path / "new", store=StoreConfig(url="postgresql://a@b/c"))
    with pytest.raises(StoreError, match=r"pip install 'haochaping\[collector,postgresql\]'"):
        open_store(config)
