"""A running hall for end-to-end tests: real broker, real collector and agent processes, the real firmware on a real line.

    with Hall(tmp_path, start_nats(tmp_path / "broker")) as hall:
        hall.start()                                  # collector, agent, device; returns when all three talk
        case = hall.open("C-1")                       # an evaluation through the agent's API; its id
        hall.device.press(0)                          # a finger
        hall.await_collected(1)                       # ratings in the collection, in order of arrival
        hall.agent.kill(); hall.agent.start()         # likewise hall.collector, hall.broker, hall.device.unplug()

Everything lives below one directory and is ended, by its own process id, when the block ends. `eventually` polls a condition.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from simulator.device.simulated import SimulatedDevice
from tests.brokers import Broker
from tests.chains import HALL_KEY, WINDOW

ROOT = Path(__file__).parents[1]
START_S, STOP_S, SETTLE_S = 30.0, 10.0, 40.0
DEVICE = "PJ-0001"
T = TypeVar("T")


def eventually(what: str, get: Callable[[], T], within_s: float = SETTLE_S) -> T:
    """Poll `get` until it returns something true, and return that; AssertionError names `what` and the last value."""
    deadline = time.monotonic() + within_s
    while not (value := get()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what} (last: {value!r})"
        time.sleep(0.03)
    return value


@dataclass
class Program:
    """One of our programs as a process, over a configuration and data that outlive it."""

    room: str
    config: Path
    url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        """Where its standard error goes."""
        return self.config.with_suffix(".log")

    def start(self) -> None:
        """Start it and wait for its line `ready URL`."""
        command = [sys.executable, "-m", self.room, "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        watchdog = threading.Timer(START_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("ready http://"), self.log.read_text()
        self.url = line.split()[1]

    def refused(self) -> tuple[int, str]:
        """Start it where it must refuse to; return its exit code and what it says."""
        command = [sys.executable, "-m", self.room, "run", "--config", str(self.config)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=START_S, check=False)
        return ended.returncode, ended.stderr

    def kill(self) -> None:
        """End it without a chance to write anything. Safe to repeat."""
        if self.process is not None:
            self.process.kill()
            self._gone()

    def stop(self, within_s: float = STOP_S) -> int:
        """End it politely; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within_s)
        self._gone()
        return code

    def _gone(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.wait()
        self.process.stdout.close()
        self.process = None


class Hall:
    """One window and its collection; `device_settings` go into the device's provisioning, `agent_more` into the agent's TOML.

    `mqtt_more` is what collector and agent have besides under [mqtt], by their names.
    """

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        *,
        protocol: str = "3.1.1",
        agent_more: str = "",
        device_settings: dict[str, int | bool] | None = None,
        mqtt_more: dict[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.broker = broker
        self.port = directory / "port"
        self.told: list[tuple[str, int]] = []
        """What the device shows and says: see SimulatedDevice's listener."""
        self.device = SimulatedDevice(
            directory,
            DEVICE,
            HALL_KEY,
            str(self.port),
            settings=device_settings or {"change_ms": 1, "rest_ms": 1},
            listener=lambda word, number: self.told.append((word, number)),
        )
        key = directory / "hall.key"
        key.write_text(HALL_KEY.hex())
        os.chmod(key, 0o600)
        mqtt = f'[mqtt]\nport = {broker.port}\nprotocol = "{protocol}"\n'
        more = mqtt_more or {}
        self.collector = Program("collector", directory / "collector.toml")
        self.collector.config.write_text(
            f'data_dir = "collected"\n{mqtt}{more.get("collector", "")}'
            f'[halls."{WINDOW.area}/{WINDOW.hall}"]\nkey_file = "hall.key"\n[http]\nport = 0\n'
        )
        self.agent = Program("host_agent", directory / "agent.toml")
        self.agent.config.write_text(
            f'data_dir = "agent"\nlog_level = "debug"\n{mqtt}{more.get("agent", "")}'
            f'[place]\narea = "{WINDOW.area}"\nhall = "{WINDOW.hall}"\nwindow = "{WINDOW.window}"\n'
            f'[device]\nport = "{self.port}"\n[api]\nport = 0\norigins = ["http://hall.example"]\n{agent_more}'
        )
        self.data_dir = directory / "agent"
        self._client = httpx.Client(trust_env=False, timeout=15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()
        self.agent.kill()
        self.collector.kill()
        self.device.close()
        self.broker.stop()

    def start(self) -> None:
        """Start the collector, the device and the agent, and wait until they talk to each other."""
        self.collector.start()
        self.device.plug_in()
        self.agent.start()
        self.await_talking()

    # --- the agent's API -------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Make a request of the agent's API, with its token."""
        token = (self.data_dir / "api-token").read_text().strip()
        return self._client.request(method, self.agent.url + path, headers={"Authorization": f"Bearer {token}"}, **more)

    def open(self, case_no: str, **body: Any) -> str:
        """Open an evaluation and return its id."""
        answer = self.ask("POST", "/v1/evaluations", json={"case": {"case_no": case_no}, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def device_is_asking(self) -> str:
        """Return the id of the evaluation that the citizen is being asked to rate, empty without one."""
        return self.status()["evaluation"] or ""

    def ended(self, evaluation: str) -> str:
        """Wait until an evaluation has ended; return how."""
        answer = self.ask("GET", f"/v1/evaluations/{evaluation}?wait_s=10")
        assert answer.json()["final"], answer.text
        return str(answer.json()["state"])

    def status(self) -> dict[str, Any]:
        """Return the agent's status."""
        answer = self.ask("GET", "/v1/status")
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json()
        return report

    def await_talking(self) -> None:
        """Wait until the agent talks to device and broker."""
        eventually("the agent talks", lambda: self.status()["link"] == "talking" and self.status()["broker_connected"])

    def await_released(self) -> None:
        """Wait until every record has its receipt, at the agent and in the device."""

        def released() -> bool:
            status = self.status()
            return not any(status[name] for name in ("outbox_to_send", "outbox_sent", "journal_waiting"))

        eventually("everything has its receipt", released)

    # --- the collection --------------------------------------------------------------------------------------

    def summary(self) -> Any:
        """Return the collector's summary."""
        return self._client.get(f"{self.collector.url}/api/v1/summary").json()

    def ratings(self) -> list[dict[str, Any]]:
        """Return all collected ratings in order of arrival."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self._client.get(f"{self.collector.url}/api/v1/ratings?after={after}&limit=1000").json()
            if not page["items"]:
                return found
            found += page["items"]
            after = page["next"]

    def await_collected(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many ratings, make sure that it is not one more and nothing is missing; return them."""
        found = eventually(f"{count} ratings", lambda: len(now := self.ratings()) >= count and now)
        assert isinstance(found, list)
        assert len(found) == count
        summary = self.summary()
        assert summary["gaps"] == 0
        assert not any(summary["evidence"].values()), summary["evidence"]
        return found

    def window(self) -> Any:
        """Return the collector's line about the window, None while it has none."""
        return next((item for item in self.summary()["windows"]), None)
