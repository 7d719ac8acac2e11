"""Broker, agent and collector as processes of their own below one folder, all ended when the block ends."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from simulator.services import HOST, Service, free_port, python_service
from tools.bench.paper import AREA, HALL, HALL_KEY, HALL_NAME

WITHIN_S = 60.0
IN_FLIGHT = 1000
"""Deliveries without an ack that the broker allows; Mosquitto's own 20 would measure round trips of twenty messages."""


class NotHere(Exception):
    """A program that a benchmark needs is not installed; the text says which."""


def until(what: str, get: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Wait until `get` returns something true; TimeoutError names `what`."""
    deadline = time.monotonic() + within_s
    while not get():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.005)


def program(name: str) -> str:
    """Return the path of an installed program; NotHere when it is not."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotHere(f"{name} is not installed")
    return found


class Stage:
    """A folder and what runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._broker: Service | None = None
        self._running: list[Service] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for service in reversed(self._running):
            service.stop()

    def start_broker(self) -> Service:
        """Start Mosquitto, or start it again on what it had stored; the port stays."""
        if self._broker is None:
            config = self.folder / "mosquitto.conf"
            config.write_text(
                f"listener {self.port} {HOST}\nallow_anonymous true\npersistence true\n"
                f"persistence_location {self.folder.as_posix()}/\nmax_queued_messages 0\n"
                f"max_inflight_messages {IN_FLIGHT}\nset_tcp_nodelay true\n"
                + ("" if sys.platform == "win32" else f"user {getpass.getuser()}\n"),
                encoding="ascii",
            )
            self._broker = self._keep(Service("mosquitto", [program("mosquitto"), "-c", str(config)], self.folder))
        self._broker.start()
        self._broker.wait_for_port(self.port)
        return self._broker

    def start_collector(self) -> Service:
        """Start the collector and wait until it has subscribed."""
        config = self.folder / "collector.toml"
        if not config.exists():
            key = self.folder / "hall.key"
            key.write_text(HALL_KEY.hex(), encoding="ascii")
            os.chmod(key, 0o600)
            config.write_text(
                f'data_dir = "collected"\n[mqtt]\nport = {self.port}\n[halls."{HALL}"]\nkey_file = "hall.key"\n'
                "[http]\nport = 0\n",
                encoding="ascii",
            )
        service = self._keep(python_service("collector", "collector", config, self.folder))
        service.start()
        service.ready_url()
        return service

    def start_agent(self, device_port: str, name: str = "agent", window: str = "1") -> Service:
        """Start the agent; it is ready when its API is, whatever broker and device do."""
        config = self.folder / f"{name}.toml"
        config.write_text(
            f'data_dir = "{name}"\n[mqtt]\nport = {self.port}\n'
            f'[place]\narea = "{AREA}"\nhall = "{HALL_NAME}"\nwindow = "{window}"\n'
            f'[device]\nport = "{device_port}"\n[api]\nport = 0\n',
            encoding="ascii",
        )
        service = self._keep(python_service(name, "host_agent", config, self.folder))
        service.start()
        service.ready_url()
        return service

    def start(self, name: str, command: list[str]) -> Service:
        """Start any other program."""
        service = self._keep(Service(name, command, self.folder))
        service.start()
        return service

    def _keep(self, service: Service) -> Service:
        self._running.append(service)
        return service
