"""Opening the agent's SQLite file: one agent at a time, durable commits, migrations before anything else.

`Writer.transaction` is the only way to write. sqlite-utils keeps the migrations; the hot path uses plain statements, because its
`insert` costs half as much again and its `atomic` begins deferred, which fails under contention whatever the time-out.
A file that is damaged is moved aside and a new one begun: the device holds its records until the collector's receipt, so
it sends again what was lost with the file.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from sqlite_utils import Database

from host_agent.errors import StoreError
from host_agent.store.schema import migrations

log = logging.getLogger("agent.store")

FILE_NAME = "agent.db"
_BESIDE = ("", "-wal", "-shm")
_DAMAGE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class Writer:
    """The one connection that writes; belongs to the thread that opened it."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FileLock(folder / (FILE_NAME + ".lock"))
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"另一个代理程序正在使用 {folder}，请先停止它 another agent uses this database; stop that one first"
            ) from error
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            raise StoreError(
                f"数据目录不可写 {folder}: {error} the data directory cannot be written; check data_dir and its permissions"
            ) from error
        path = folder / FILE_NAME
        try:
            self.connection = _open(path)
        except sqlite3.Error as error:
            self._lock.release()
            raise StoreError(
                f"数据库无法打开 {path}: {error} the database cannot be opened; check disk space and permissions"
            ) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write atomically; durable when the block ends, undone when it raises or cannot be made durable."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            # after some errors (disk full) SQLite has rolled back by itself, after others (busy) the transaction is still open
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def installation(self) -> str:
        """Return this installation's id, drawn at its first start."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO facts (name, value) VALUES ('installation', ?)", (uuid.uuid4().hex,))
            return str(connection.execute("SELECT value FROM facts WHERE name = 'installation'").fetchone()[0])

    def close(self) -> None:
        """Close and let another agent in."""
        self.connection.close()
        self._lock.release()


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _DAMAGE:
            raise
        aside = f"{path.name}.damaged-{time.time_ns() // 1_000_000_000}"
        log.error(
            "数据库已损坏，移至 %s 并新建，评价器会重新发送 the database is damaged (%s); a new one is begun, the device sends again",
            aside,
            error,
        )
        for end in _BESIDE:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(path.with_name(aside + end))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            damage = sqlite3.DatabaseError(found)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
        migrations.apply(Database(connection))
    except BaseException:
        connection.close()
        raise
    return connection
