"""Opening the agent's SQLite file: one agent at a time, durable commits, migrations before anything else.

What takes more than one statement is written in a `Writer.transaction`; a single statement is a transaction of its own. sqlite-utils
keeps the migrations; the hot path uses plain statements, because its `insert` costs half as much again and its `atomic` begins
deferred, which fails under contention whatever the time-out.
What happens to a file that is damaged is in `damage`: it is moved aside, at this start or at the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from sqlite_utils import Database

from host_agent.errors import StoreError
from host_agent.store.damage import (
    FAILURES,
    condemn,
    content_checked,
    damaged,
    finish_repair,
    is_condemned,
    is_damage,
    must_not_be_empty,
    set_aside,
    set_aside_files,
)
from host_agent.store.schema import migrations

FILE_NAME = "agent.db"
LOCK_FILE = "agent.db.lock"
INSTALLATION_FILE = "installation"
MOST_LOG_BYTES = 4 << 20
_INSTALLATION = re.compile(r"[0-9a-f]{32}")
_GONE = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
"""Failures that a connection may never recover from, though a new one would: the disk went away and came back."""


class Writer:
    """The one connection that writes; belongs to the thread that opened it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FileLock(folder / LOCK_FILE)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(
                f"另一个代理程序正在使用 {folder}，请先停止它 another agent uses this database; stop that one first"
            ) from error
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            raise StoreError(
                f"数据目录不可写 {folder}: {error} the data directory cannot be written; check data_dir and its permissions"
            ) from error
        try:
            self.connection = _open(self._path)
            self._opened = os.stat(self._path)
        except (*FAILURES, OSError) as error:
            self._lock.release()
            raise StoreError(
                f"数据库无法打开 {self._path}: {error} the database cannot be opened; check disk space and permissions"
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

    def client_id(self, window: str) -> str:
        """Return the name under which this installation speaks to the broker for a window; see `client_id`."""
        return client_id(self._folder, window)

    def set_aside(self) -> list[str]:
        """Return the names of damaged databases that were moved aside and are still there, oldest first."""
        return set_aside_files(self._path)

    def condemn(self) -> None:
        """Have the next start move this database aside, for it is damaged in a way that a check may not find."""
        condemn(self._path)

    def is_in_place(self) -> bool:
        """Tell whether the open database is still the file under its name, and was not deleted or replaced by hand."""
        try:
            return os.path.samestat(os.stat(self._path), self._opened)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a disk that cannot be asked is another trouble

    def reopen_after(self, error: Exception) -> None:
        """Begin with a new connection if `error` is of the kind that the old one cannot recover from."""
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _GONE:
            fresh = _open(self._path)
            with contextlib.suppress(sqlite3.Error):
                self.connection.close()
            self.connection = fresh
            self._opened = os.stat(self._path)

    def close(self) -> None:
        """Close and let another agent in."""
        self.connection.close()
        self._lock.release()


def client_id(folder: Path, window: str, *, keep: bool = True) -> str:
    """Return the name under which the installation in a folder speaks to the broker for a window.

    The installation's id is drawn at its first start and outlives a damaged database; without `keep`, one that is drawn now is
    not written. The window enters too, so that a disk image which is copied to another window's PC does not throw the first
    one off the broker.
    """
    path = folder / INSTALLATION_FILE
    try:
        installation = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
        if not _INSTALLATION.fullmatch(installation):
            installation = uuid.uuid4().hex
            if keep:
                fresh = path.with_name(path.name + ".new")
                fresh.write_text(installation, encoding="ascii")
                os.replace(fresh, path)
    except OSError as error:
        raise StoreError(f"文件无法写入 {path}: {error} cannot be written; check disk space and permissions") from error
    return f"hcp-agent-{hashlib.sha256(f'{installation} {window}'.encode()).hexdigest()[:32]}"


def _open(path: Path) -> sqlite3.Connection:
    finish_repair(path)
    if is_condemned(path):
        set_aside(path, "it failed while the agent was running")
    try:
        return _connect(path)
    except FAILURES as error:
        # of constant statements on a file of ours also SQLite's general error can only mean that it is not what it was
        if not is_damage(error) and getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
            raise
        set_aside(path, str(error))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    must_not_be_empty(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # a reader that stays long (an export) has the log grow; after it the log is cut back to this
        connection.execute(f"PRAGMA journal_size_limit = {MOST_LOG_BYTES}")
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            raise damaged(found)
        _must_be_writable(connection, path)
        with content_checked():
            _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest step, all of it in one transaction; a look is enough where it is there already."""
    database = Database(connection)
    if migrations.pending(database):
        with database.atomic():
            migrations.apply(database)


def _must_be_writable(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")  # which alone succeeds also where nothing can be written
        connection.execute("PRAGMA user_version = 0")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK):
            raise damaged("its header says that a newer SQLite wrote it") from error
        raise
