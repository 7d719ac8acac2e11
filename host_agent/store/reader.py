"""Reading the agent's database beside a running agent, or without one: nothing is written, nothing is held up.

Who reads much reads it in pages, each a statement of its own: a read that stays open while its output waits (a pipe, a slow
disk) would have the agent's write-ahead log grow.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from host_agent.store.damage import must_not_be_empty
from host_agent.store.database import FILE_NAME
from host_agent.store.schema import RECEIPTED

PAGE_ROWS = 1000


def open_read_only(file: Path, timeout_s: float = 5.0) -> sqlite3.Connection:
    """Open a database for reading; sqlite3.Error when it cannot be read. Fetches integers, texts and bytes as they stand there."""
    must_not_be_empty(file)
    address = file.resolve().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # on a disk that cannot be written SQLite cannot make the index of the log; where there is no log it needs none
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or file.with_name(file.name + "-wal").exists():
            raise
        return sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Read from a database for the length of a block."""
    connection = open_read_only(file)
    try:
        yield connection
    finally:
        connection.close()


def count_not_collected(folder: Path) -> int:
    """Count the records without a receipt in the databases below a folder: each window of a PC has its own.

    OSError or sqlite3.Error where something cannot be read: who is to delete the folder must not take that for nothing.
    """
    count = 0
    for place, _, names in os.walk(folder, onerror=_refuse):
        if FILE_NAME in names:
            with reading(Path(place, FILE_NAME)) as connection:
                (here,) = connection.execute("SELECT count(*) FROM records WHERE state < ?", (RECEIPTED,)).fetchone()
                count += here
    return count


def _refuse(error: OSError) -> NoReturn:
    raise error
