"""Opening the agent's SQLite file: one agent at a time, durable commits, migrations before anything else.

`Writer.transaction` is the only way to write. sqlite-utils makes the schema; the hot path uses plain statements, because its
`insert` costs half as much again and its `atomic` begins deferred, which fails under contention whatever the time-out.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from sqlite_utils import Database

from host_agent.errors import StoreError
from host_agent.store.schema import migrations

FILE_NAME = "agent.db"


class Writer:
    """The one connection that writes; belongs to the thread that opened it."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / (FILE_NAME + ".lock"))
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"另一个代理程序正在使用 {folder}，请先停止它 another agent uses this database; stop that one first"
            ) from error
        except OSError as error:
            raise StoreError(f"无法写入 {folder}: {error} cannot be written; check the folder's permissions") from error
        try:
            self.connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None, timeout=10.0)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute("PRAGMA foreign_keys = ON")
            migrations.apply(Database(self.connection))
        except sqlite3.Error as error:
            self._lock.release()
            raise StoreError(f"数据库无法打开 {folder / FILE_NAME}: {error} the database cannot be opened") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write atomically; durable when the block ends, undone when it raises."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def close(self) -> None:
        """Close and let another agent in."""
        self.connection.close()
        self._lock.release()
