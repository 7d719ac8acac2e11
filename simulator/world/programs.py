"""The agent and the collector of the world: the real programs, started, killed and started again.

A kill comes before or after any statement that touches the database, as a process dies: what was not committed is gone, what was
committed stays, nothing else is tidied up. The databases are real SQLite files.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from collector.ingest.core import Ingest, Message
from collector.store.database import Database
from host_agent.agent import Agent
from host_agent.config import Config, DeviceConfig, PlaceConfig
from host_agent.desk import Desk
from host_agent.instant import Instant
from host_agent.surroundings import Surroundings
from protocol.topics import Window
from simulator.world.broker import Broker
from simulator.world.line import NAME, Line
from simulator.world.scheduler import Scheduler

COLLECT_EVERY_S = 0.01
MOST_IN_A_BATCH = 50


class Killed(BaseException):
    """The process is gone; not an Exception, so that nothing in it can mistake it for an error of its own."""


class _Statements:
    """A connection that counts statements and dies at one of them, before or after it took effect."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.left = -1
        self.after = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        return self._counted(found) if name in ("execute", "executemany") else found

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            if self.left != 0:
                self.left -= self.left > 0
                return call(*arguments)
            if self.after:
                call(*arguments)
            raise Killed

        return counted


class WorldAgent:
    """One agent on its own folder; runs whenever something is posted or due."""

    def __init__(self, scheduler: Scheduler, window: Window, folder: Path, line: Line, broker: Broker) -> None:
        self._scheduler = scheduler
        self._folder = folder
        self._broker = broker
        self._config = Config(
            data_dir=folder,
            place=PlaceConfig(area=window.area, hall=window.hall, window=window.window),
            device=DeviceConfig(port=NAME),
        )
        self._surroundings = Surroundings(
            clocks=scheduler.instant,
            entropy=Random(window.path).randbytes,
            ports=line,
            connect=broker.connect,
            posted=self._plan_now,
        )
        self._line = line
        self._statements: _Statements | None = None
        self._life = 0
        self._planned_s = float("inf")
        self.agent: Agent | None = None
        self.kills = 0

    def start(self) -> None:
        """Start the process."""
        if self.agent is not None:
            return
        self._life += 1
        agent = Agent(self._config, self._surroundings)
        self._statements = _Statements(agent._writer.connection)
        agent._writer.connection = self._statements  # type: ignore[assignment]  # it behaves as one, until it dies
        self.agent = agent
        self._planned_s = float("inf")  # whatever was planned was for the life before
        self._guarded(agent.start)
        self._plan_now()

    def kill(self, statements: int, *, after: bool) -> None:
        """Have the process die at the statement after so many more."""
        if self._statements is not None:
            self._statements.left, self._statements.after = statements, after

    def lose_disk(self) -> None:
        """Kill the process and delete everything it has stored."""
        self._die()
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, what: Callable[[Desk, Instant], object]) -> None:
        """Ask the agent for something, as a business system does, and do not wait."""
        if self.agent is not None:
            self.agent.call(what)

    def close(self) -> None:
        """End the process, for good."""
        self._die()

    def _plan_now(self) -> None:
        self._plan(self._scheduler.now_s)

    def _plan(self, when_s: float) -> None:
        if when_s < self._planned_s:
            self._planned_s = when_s
            life = self._life
            self._scheduler.after(when_s - self._scheduler.now_s, lambda: self._turn(life, when_s))

    def _turn(self, life: int, planned_s: float) -> None:
        if self.agent is None or life != self._life or planned_s != self._planned_s:
            return  # of a life that is over, or overtaken by something earlier
        self._planned_s = float("inf")
        self._guarded(self.agent.turn)
        if self.agent is not None:
            self._plan(max(self.agent.deadline_s(), self._scheduler.now_s + 0.001))

    def _guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Killed:
            self._die()

    def _die(self) -> None:
        if self.agent is None:
            return
        agent, self.agent = self.agent, None
        self._life += 1
        self._planned_s = float("inf")
        self.kills += 1
        writer = agent._writer
        if self._statements is not None:
            self._statements.left = -1
        writer.close()  # without a commit: SQLite rolls back, as it would when the process is gone
        if self._broker.client is not None:
            self._broker.client.stop()
        self._line.release()


class WorldCollector:
    """The collector; takes what waits at the brokers every few milliseconds."""

    def __init__(self, scheduler: Scheduler, random: Random, folder: Path, hall_keys: dict[str, bytes]) -> None:
        self._scheduler = scheduler
        self._random = random
        self._folder = folder
        self._hall_keys = hall_keys
        self._brokers: dict[str, Broker] = {}
        self._dies: int | None = None
        self.database: Database | None = None
        self._ingest: Ingest | None = None
        self.kills = 0

    def serve(self, window: Window, broker: Broker) -> None:
        """Listen at one more window's broker."""
        self._brokers[window.path] = broker

    def start(self) -> None:
        """Start the process."""
        if self.database is None:
            self.database = Database(self._folder)
            self._ingest = Ingest(self.database.writer, self._hall_keys, adopt_after_ms=3_600_000)
            self._scheduler.after(COLLECT_EVERY_S, self._collect)

    def kill(self, where: int) -> None:
        """Have the process die in its next batch: 0 before the commit, 1 after it, 2 after publishing, before the broker knows."""
        self._dies = where

    def close(self) -> None:
        """End the process, for good."""
        if self.database is not None:
            self.database.close()
            self.database = self._ingest = None

    def _collect(self) -> None:
        if self.database is None or self._ingest is None:
            return
        for broker in self._brokers.values():
            batch = broker.upward[:MOST_IN_A_BATCH]
            if not batch or not broker.reachable:
                continue
            messages = [Message(topic, payload) for topic, payload in batch]
            try:
                self._take(self._ingest, self.database, messages)
            except Killed:
                self.database.close()
                self.database = self._ingest = None
                self.kills += 1
                return
            del broker.upward[: len(batch)]
        self._scheduler.after(COLLECT_EVERY_S, self._collect)

    def _take(self, ingest: Ingest, database: Database, messages: list[Message]) -> None:
        dies, self._dies = self._dies, None
        if dies == 0:

            def last_words(_connection: sa.Connection) -> None:
                raise Killed

            sa.event.listen(database.writer, "commit", last_words)
        taken = ingest.take(messages, self._scheduler.instant().utc_ms)
        if dies == 1:
            raise Killed
        for message in taken.publish:
            self._window_broker(message.topic).give(message.topic, message.payload)
        if dies == 2:
            raise Killed

    def _window_broker(self, topic: str) -> Broker:
        return self._brokers["/".join(topic.split("/")[2:5])]
