"""The collector's database of either kind, empty and migrated, for tests that must come out the same on both.

    def test_…(store: Opened): …             # the fixture of tests/conftest.py runs it on SQLite and on PostgreSQL

PostgreSQL is one server for the whole session, with one database for all tests that need no own, emptied before each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from collector.store.database import memory_database
from collector.store.postgresql import PostgresDatabase
from collector.store.tables import metadata
from simulator.postgresql import Cluster

_numbers = itertools.count(1)


@dataclass
class Opened:
    """An open database; `close` it."""

    writer: sa.Engine
    reader: sa.Engine
    close: Callable[[], None]


def open_sqlite() -> Opened:
    """Open a new SQLite database in memory."""
    engine = memory_database()
    return Opened(engine, engine, engine.dispose)


def new_database(cluster: Cluster) -> str:
    """Make a database for one test, empty of tables, and return its url."""
    return cluster.create(f"test{next(_numbers)}")


def emptied(database: PostgresDatabase) -> Opened:
    """Take every row out of a migrated database."""
    with database.writer.begin() as connection:
        for table in metadata.tables.values():
            connection.execute(sa.delete(table))
        connection.execute(sa.text("ALTER SEQUENCE evidence_id_seq RESTART"))
    return Opened(database.writer, database.reader, lambda: None)
