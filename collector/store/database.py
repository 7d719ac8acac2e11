"""Opening the database: one writer, any number of readers, the newest schema.

Embedded it is SQLite, unless the configuration names a PostgreSQL server (store/postgresql). SQLite runs in WAL with
synchronous=FULL, so that a commit is on disk before a message is acknowledged. The writer begins with BEGIN IMMEDIATE: a
transaction that reads first and upgrades later is refused at once when another has written. Readers are read-only connections
and never wait. A lock file keeps a second collector off the same file.
Called by service (for ever) and by tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from filelock import FileLock, Timeout

from collector.config import Config
from collector.errors import StoreError
from collector.store.migrate import migrate

BUSY_MS = 5000


class Store(Protocol):
    """An open database of whichever kind."""

    writer: sa.Engine
    reader: sa.Engine

    def close(self) -> None:
        """Close every connection and let the next collector in; safe to repeat."""


def open_store(config: Config) -> Store:
    """Open the database that is configured; StoreError says what is in the way."""
    if config.store.url is None:
        return Database(config.data_dir)
    _make_folder(config.data_dir)  # for what is not in the database
    try:
        from collector.store.postgresql import PostgresDatabase
    except ImportError as error:
        raise StoreError(
            f"缺少数据库驱动 no driver for PostgreSQL ({error}): pip install 'haochaping[collector,postgresql]'"
        ) from error
    return PostgresDatabase(config.store.url, config.store.read_password())


class Database:
    """The collector's database file in `data_dir`, locked, migrated and open; StoreError says what is in the way."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "collector.db"
        _make_folder(data_dir)
        self._lock = FileLock(data_dir / "collector.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"另一个归集程序正在使用该数据目录 another collector is using {data_dir}: "
                "先停止它，或改用别的 data_dir / stop it first, or choose another data_dir"
            ) from error
        self.writer = _engine(self.path, "BEGIN IMMEDIATE", query_only=False)
        self.reader = _engine(self.path, "BEGIN", query_only=True)
        try:
            migrate(self.writer)
        except sa.exc.DatabaseError as error:
            self.close()
            raise StoreError(
                f"数据库无法打开 cannot open {self.path}: {error.orig}; "
                "请从备份恢复，勿删除 / restore it from a backup, do not delete it"
            ) from error

    def close(self) -> None:
        """Close every connection and let the next collector in; safe to repeat."""
        self.writer.dispose()
        self.reader.dispose()
        self._lock.release()


def memory_database() -> sa.Engine:
    """Return a migrated database in memory, on one connection, for simulation and tests."""
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})
    _explicit_transactions(engine, "BEGIN", [])
    migrate(engine)
    return engine


def _make_folder(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"数据目录无法建立 cannot create the data directory {data_dir}: {error}") from error


def _engine(path: Path, begin: str, *, query_only: bool) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False},
        pool_size=1 if not query_only else 8,
        max_overflow=0 if not query_only else 24,
    )
    pragmas = ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"]
    if query_only:
        pragmas.append("query_only=ON")
    _explicit_transactions(engine, begin, pragmas)
    return engine


def _explicit_transactions(engine: sa.Engine, begin: str, pragmas: list[str]) -> None:
    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "begin", on_begin)
