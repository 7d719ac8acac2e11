"""The hall that is broken: devices, agents, a broker, a collector and its database, all of them real processes.

Agents and collector reach the broker through a proxy each. Everything lies below one folder and is ended by its own process id.
Built and broken on one thread (run, faults); citizens look at posts from theirs.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from protocol.topics import Window
from simulator.chaos.disk import SmallDisk
from simulator.chaos.programs import DatabaseServer, Keeper, Ours, Program
from simulator.chaos.proxy import Proxy
from simulator.demo.clients import AgentClient
from simulator.device.engine import VmEngine
from simulator.device.simulated import SimulatedDevice
from simulator.postgresql import Cluster
from simulator.services import free_port, python_service, start_mosquitto, start_nats

AREA, HALL, DATABASE = "533103", "mangshi", "ratings"
ASK_S = 3.0
AGENT_DISK_MB, SQLITE_DISK_MB, POSTGRESQL_DISK_MB = 8, 48, 80
BROKERS = {"nats": start_nats, "mosquitto": start_mosquitto}
BROKER_DATA = {"nats": "jetstream", "mosquitto": "mosquitto"}
STORES = ("sqlite", "postgresql")


class Post:
    """One window: a device, its agent, and the agent's way to the broker."""

    def __init__(self, hall: Hall, number: int) -> None:
        self.window = Window(AREA, HALL, f"{number:02d}")
        folder = hall.folder / f"window{number:02d}"
        self.data_dir = folder / "agent"
        self.disk = SmallDisk(self.data_dir)
        hall.mount(self.disk, AGENT_DISK_MB, "agent's disk full")
        self.sounds: Counter[int] = Counter()
        """How often the device has said what, by number."""
        self.stands_still = False
        self.proxy = Proxy(hall.port)
        self.device = SimulatedDevice(
            folder, f"PJQ-{number:04d}", hall.key, str(folder / "port"), engine=VmEngine, listener=self._hear,
            settings={"change_ms": 1, "rest_ms": 1},
        )  # fmt: skip
        config = folder / "agent.toml"
        config.write_text(
            f'data_dir = "agent"\n[place]\narea = "{AREA}"\nhall = "{HALL}"\nwindow = "{self.window.window}"\n'
            f'[device]\nport = "{self.device.line.port}"\n[mqtt]\nport = {self.proxy.port}\n[api]\nport = 0\n',
            encoding="utf-8",
        )
        self.agent = Ours(python_service("agent", "host_agent", config, folder))

    def client(self) -> AgentClient | None:
        """Return the agent's API as it is now, None while it has none."""
        try:
            token = (self.data_dir / "api-token").read_text(encoding="ascii").strip()
        except OSError:
            return None
        return AgentClient(self.agent.url, token, ASK_S) if self.agent.url else None

    def close(self) -> None:
        """End it all."""
        self.agent.stop()
        self.device.close()
        self.proxy.close()
        self.disk.unmount()

    def _hear(self, word: str, number: int) -> None:
        if word == "sound":
            self.sounds[number] += 1


class Hall:
    """Everything, below `folder`; `close` ends whatever has been started, also half a hall."""

    def __init__(self, folder: Path, windows: int, broker: str, store: str) -> None:
        self.folder = folder
        self.impossible: dict[str, str] = {}
        """Faults that this machine does not allow, and why."""
        self.key = secrets.token_bytes(32)
        self.port = free_port()
        self.posts: list[Post] = []
        self.disk = SmallDisk(folder / ("collector" if store == "sqlite" else "postgresql"))
        """Where the records are."""
        self.server: DatabaseServer | None = None
        self.broker_data = folder / BROKER_DATA[broker]
        self._programs: list[Program] = []
        self._keepers: list[Keeper] = []
        self._broker_kind, self._store_kind = broker, store
        self._windows = windows

    def start_collection(self) -> None:
        """Start broker, database and collector, without waiting for the last.

        What agents publish before a broker has ever heard of a collector, it throws away; they would send it again after a minute.
        """
        self.broker = Ours(BROKERS[self._broker_kind](self.folder, self.port))
        self._look_after(self.broker)
        store = self._open_store()
        self.proxy = Proxy(self.port)
        key_file = self.folder / "hall.key"
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(self.key.hex())
        config = self.folder / "collector.toml"
        config.write_text(
            f'data_dir = "collector"\n{store}[mqtt]\nport = {self.proxy.port}\n'
            f'[halls."{AREA}/{HALL}"]\nkey_file = "hall.key"\n[http]\nport = 0\n',
            encoding="utf-8",
        )
        self.collector = Ours(python_service("collector", "collector", config, self.folder))
        self._look_after(self.collector)
        self.collector.start()

    def start_windows(self) -> None:
        """Start devices and agents, without waiting until they talk."""
        for number in range(1, self._windows + 1):
            post = Post(self, number)
            self.posts.append(post)
            self._look_after(post.agent)
            post.device.plug_in()
            post.agent.start()

    def look(self) -> None:
        """Start again what has ended and may run; call often."""
        now_s = time.monotonic()
        for keeper in self._keepers:
            keeper.look(now_s)

    def ended_by_themselves(self) -> int:
        """How many processes have ended although no fault ended them."""
        return sum(program.ended_by_itself for program in self._programs)

    def mount(self, disk: SmallDisk, megabytes: int, fault: str) -> None:
        """Put a small disk in place, or note that this fault cannot be had."""
        reason = disk.mount(megabytes)
        if reason:
            self.impossible[fault] = reason

    def reader(self) -> sa.Engine:
        """Return a way to read, and in tests to spoil, the collection without the collector's help."""
        if self.server is not None:
            url = self.server.cluster.url(DATABASE).replace("postgresql:", "postgresql+psycopg:")
            return sa.create_engine(url, poolclass=sa.pool.NullPool)
        return sa.create_engine(f"sqlite:///{self.disk.folder / 'collector.db'}", poolclass=sa.pool.NullPool)

    def close(self) -> None:
        """End everything that was started, the last first; safe to repeat."""
        for post in reversed(self.posts):
            post.close()
        self.posts.clear()
        for program in reversed(self._programs):
            program.stop()
        if hasattr(self, "proxy"):
            self.proxy.close()
        self.disk.unmount()

    def _look_after(self, program: Program) -> None:
        self._programs.append(program)
        self._keepers.append(Keeper(program))

    def _open_store(self) -> str:
        if self._store_kind == "sqlite":
            self.mount(self.disk, SQLITE_DISK_MB, "collector's disk full")
            return ""
        self.mount(self.disk, POSTGRESQL_DISK_MB, "collector's disk full")
        cluster = Cluster(self.disk.folder)
        self.server = DatabaseServer(cluster)
        self._look_after(self.server)
        cluster.start()
        return f'[store]\nurl = "{cluster.create(DATABASE)}"\n'
