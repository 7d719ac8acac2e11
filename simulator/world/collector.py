"""The collector of the world: the real ingest on a real SQLite file, killed at any statement and started again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from collector.ingest.core import Ingest, Message, Taken
from collector.ingest.evidence import EvidenceKind
from collector.store.database import Database
from protocol.topics import Window
from simulator.world.broker import Broker
from simulator.world.mortal import NEVER, NO_LIMIT_PAGES, Killed, MortalConnection
from simulator.world.scheduler import Scheduler, WallClock
from simulator.world.trace import Trace

COLLECT_EVERY_S = 0.05
RETRY_S = 0.2
MOST_IN_A_BATCH = 50
FULL = 2
"""PRAGMA synchronous: a commit is on the disk when it returns."""


@cache
def _blank() -> bytes:
    """Return the file of a database with the newest schema and nothing in it: making one takes longer than a small world."""
    with tempfile.TemporaryDirectory(prefix="world-") as folder:
        database = Database(Path(folder))
        database.close()  # the last to close brings everything into the file
        return database.path.read_bytes()


def new_database(folder: Path) -> Database:
    """Open the database in a folder; an empty one where there is none."""
    file = folder / "collector.db"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_blank())
    return Database(folder)


def _mortal(engine: sa.Engine) -> MortalConnection:
    """Put a mortal connection in the place of the writer's one connection, and return it."""
    put: list[MortalConnection] = []

    def checked_out(real: Any, record: Any, proxy: Any) -> None:
        if not put:
            put.append(MortalConnection(real))
            record.dbapi_connection = proxy.dbapi_connection = put[0]

    sa.event.listen(engine, "checkout", checked_out)
    engine.raw_connection().close()
    sa.event.remove(engine, "checkout", checked_out)
    return put[0]


class WorldCollector:
    """Takes what waits at the brokers, in batches; `messages` are all that it has ever been given, each once."""

    def __init__(self, scheduler: Scheduler, trace: Trace, folder: Path, hall_keys: dict[str, bytes]) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._folder = folder
        self._hall_keys = hall_keys
        self._brokers: dict[str, Broker] = {}
        self._ingest: Ingest | None = None
        self._driver: MortalConnection | None = None
        self._before: bytes | None = None
        self._is_planned = False
        self.clock = WallClock(scheduler)
        self.database: Database | None = None
        self.messages: dict[Message, None] = {}
        self.forged: dict[Message, EvidenceKind] = {}
        """What was forged, and the evidence that must be kept of it."""
        self.died: Callable[[], None] = lambda: None
        """Called when the process has died at a statement."""

    def serve(self, window: Window, broker: Broker) -> None:
        """Listen at one more window's broker."""
        self._brokers[window.path] = broker
        broker.wake_collector = self._wake

    def start(self) -> None:
        """Start the process."""
        if self.database is not None:
            return
        self.database = new_database(self._folder)
        self._ingest = self.new_ingest(self.database.writer)
        self._driver = _mortal(self.database.writer)
        self._before = None
        if self._driver.execute("PRAGMA synchronous").fetchone()[0] < FULL:
            # SQLite then syncs at checkpoints only: all that this process is going to write can be lost
            self._driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._before = self.database.path.read_bytes()
        self._trace.note("collector", "starts")
        self._wake()

    def new_ingest(self, engine: sa.Engine) -> Ingest:
        """Return an ingest with the hall's keys over another database."""
        return Ingest(engine, self._hall_keys)

    def stop(self) -> None:
        """End the process here and now."""
        if self.database is not None:
            self.database.close()
            self.database = self._ingest = self._driver = None

    def lose_power(self) -> None:
        """End the process and take the power of its disk: what was not synced is gone with it."""
        self.stop()
        if self._before is not None:
            self._trace.note("collector", "what was written without a sync is lost")
            (self._folder / "collector.db").write_bytes(self._before)

    def kill_at(self, statements: int, *, after: bool) -> None:
        """Have the process die at the statement after so many more."""
        if self._driver is not None:
            self._driver.kill_at(statements, after=after)

    def limit_disk(self, pages: int = 1) -> None:
        """Leave no room for another page of the database."""
        if self._driver is not None:
            self._driver.most_pages(pages)

    def mend(self) -> None:
        """Put everything right."""
        self.kill_at(NEVER, after=False)
        self.clock.wrong_by_ms = 0
        self.limit_disk(NO_LIMIT_PAGES)
        self._wake()

    def _wake(self, pause_s: float = COLLECT_EVERY_S) -> None:
        if not self._is_planned:
            self._is_planned = True
            self._scheduler.after(pause_s, self._collect)

    def _collect(self) -> None:
        self._is_planned = False
        for broker in self._brokers.values():
            batch = broker.upward[:MOST_IN_A_BATCH]
            if not batch or not broker.reachable:
                continue
            messages = [Message(topic, payload) for topic, payload in batch]
            try:
                taken = self._take(messages)
            except Killed:
                self._trace.note("collector", "killed")
                self.stop()
                self.died()
                return
            except sa.exc.DBAPIError as error:
                self._trace.note("collector", f"cannot write: {error.orig}")
                self._wake(RETRY_S)
                return
            if taken is None:
                return
            del broker.upward[: len(batch)]
            if broker.upward:
                self._wake()

    def _take(self, messages: list[Message]) -> Taken | None:
        """Take a batch; None without a process. Its death may come before the commit, and after it but before the broker knows."""
        if self._ingest is None or self._driver is None:
            return None
        commits = self._driver.commits
        try:
            taken = self._ingest.take(messages, self.clock().utc_ms)
        finally:
            if self._driver.commits > commits:
                self.messages |= dict.fromkeys(messages)
        for message in taken.publish:
            self._brokers["/".join(message.topic.split("/")[2:5])].give(message.topic, message.payload)
        if self._driver.is_next:
            raise Killed
        return taken
