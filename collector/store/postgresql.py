"""The collector's database on a PostgreSQL server: the same tables, promises and refusals as the embedded one.

One writer: its only connection holds an advisory lock for as long as it lives, so whoever writes has the lock, also after the
server was restarted, and a second collector on the same database is refused by name. Transactions are REPEATABLE READ: one that
reads and then finds that somebody else has written fails and is tried again. Commits wait for the server's disk, whatever the
server's own setting; a server that does not sync at all is refused. Readers see one moment for as many queries as they make.
Every refusal while running is a database error, so that ingest/pipeline tries again and acknowledges nothing.
Called by store/database; needs the extra `postgresql`.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import psycopg
import sqlalchemy as sa

from collector.errors import StoreError
from collector.store.migrate import migrate

log = logging.getLogger(__name__)

LOCK = 0x6863_7063_6F6C_6C65
"""The advisory lock of the one collector that writes; PostgreSQL keeps it for each database by itself."""
LOCKED_S = 5.0
"""How long a start waits for the lock: the server may not yet have noticed that the last collector was killed."""
LOCK_POLL_S = 0.1
CONNECT_S = 10
READERS = 8
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""A server that is gone without a word is noticed after about 25 s; milliseconds in the last one."""
_SESSION = (
    "SET lock_timeout = '5s'",
    # the server must notice as soon when the collector's machine is gone: the lock dies with its session
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
)
_AS_DURABLE_AS_DISK = ("on", "remote_apply")


class InUse(psycopg.OperationalError):
    """Another collector holds the lock."""

    sqlstate = "55P03"  # lock_not_available, which the server does not say of advisory locks


class Unfit(psycopg.OperationalError):
    """The server, as it is set up, cannot keep what was committed."""

    sqlstate = "0A000"  # feature_not_supported


class PostgresDatabase:
    """The database at `url`, locked, migrated and open; StoreError says what is in the way. The password is never shown."""

    def __init__(self, url: str, password: str | None) -> None:
        address = sa.make_url(url).set(drivername="postgresql+psycopg")
        self.place = address.render_as_string(hide_password=True).replace("+psycopg", "")
        if password is not None:
            address = address.set(password=password)
        arguments: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "client_encoding": "utf8",
            "application_name": "haochaping collector",
            **_KEEPALIVE,
        }
        self.writer = sa.create_engine(
            address, connect_args=arguments, isolation_level="REPEATABLE READ", pool_size=1, max_overflow=0
        )
        sa.event.listen(self.writer, "connect", self._on_connect)
        self.reader = sa.create_engine(
            address,
            connect_args=arguments,
            isolation_level="REPEATABLE READ",
            pool_size=READERS,
            pool_pre_ping=True,
            execution_options={"postgresql_readonly": True},
        )
        try:
            self._open()
        except sa.exc.DatabaseError as error:
            self.close()
            raise StoreError(self._sentence(error)) from error

    def close(self) -> None:
        """Close every connection and let the next collector in; safe to repeat."""
        self.writer.dispose()
        self.reader.dispose()

    def _open(self) -> None:
        deadline = time.monotonic() + LOCKED_S
        while True:
            try:
                return migrate(self.writer)
            except sa.exc.OperationalError as error:
                if not isinstance(error.orig, InUse) or time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_POLL_S)

    def _sentence(self, error: sa.exc.DatabaseError) -> str:
        said = " ".join(str(error.orig).split())
        if isinstance(error.orig, (InUse, Unfit)):
            return said
        if isinstance(error.orig, psycopg.OperationalError):
            return (
                f"数据库服务器无法使用 cannot use the database server at {self.place}: {said}; "
                "请启动它或更正 [store] / start it, or correct [store]"
            )
        return (
            f"数据库无法打开 cannot open {self.place}: {said}; "
            "请检查权限，或从备份恢复 / check the rights of its user, or restore it from a backup"
        )

    def _on_connect(self, connection: psycopg.Connection[Any], _record: object) -> None:
        """Make a new connection the writer's, or close it and say why not."""
        try:
            self._check(connection)
            for statement in _SESSION:
                connection.execute(statement.encode())
            held = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
            if held != (True,):
                raise InUse(
                    f"另一个归集程序正在使用该数据库 another collector is using the database {self.place}: "
                    "先停止它，或改用别的 [store] url / stop it first, or choose another [store] url"
                )
            connection.commit()  # or the settings would go with the first rollback
        except BaseException:
            connection.close()
            raise

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        names = ("fsync", "full_page_writes", "synchronous_commit", "server_encoding")
        query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        row = connection.execute(query.encode()).fetchone()
        assert row is not None  # noqa: S101  # a SELECT without FROM has one row
        fsync, full_pages, commit, encoding = row
        if fsync != "on":
            raise Unfit(
                f"数据库未启用落盘 the server at {self.place} has fsync off and would lose ratings with the power: "
                "请设 fsync = on / set fsync = on"
            )
        if encoding != "UTF8":
            raise Unfit(
                f"数据库编码不是 UTF8 the database {self.place} is encoded in {encoding}: "
                "请以 UTF8 重建 / create it with ENCODING 'UTF8'"
            )
        if full_pages != "on":
            log.warning("%s 未启用整页写入 has full_page_writes off: a torn page is not repaired after a power cut", self.place)
        if commit not in _AS_DURABLE_AS_DISK:
            log.warning(
                "%s 的提交不等待落盘 has synchronous_commit = %s: the collector's own commits wait all the same",
                self.place,
                commit,
            )
            connection.execute("SET synchronous_commit = on")
