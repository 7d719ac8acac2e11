"""Two windows at one PC: each device goes to its own window, whatever port it is on, and each rating with it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.device.simulated import SimulatedDevice
from tests.brokers import start_nats
from tests.chains import HALL_KEY, WINDOW
from tests.hall import ROOT, Hall, Program, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.micropython]

SECOND = "08"


class TwoWindows:
    """A hall whose PC has two windows; devices are put on ports of any name."""

    def __init__(self, folder: Path, hall: Hall) -> None:
        self.hall = hall
        self.ports = folder / "ports"
        self.ports.mkdir()
        self._folder = folder
        self._devices: list[SimulatedDevice] = []
        text = hall.agent.config.read_text()
        text = re.sub(r'port = ".*/port"', 'id = "PJ-0001"', text)
        hall.agent.config.write_text(text + f'[[windows]]\nwindow = "{SECOND}"\ndevice = {{ id = "PJ-0002" }}\n')
        hall.agent = Program("tests.agent_on_ptys", hall.agent.config)

    def device(self, name: str, port: str) -> SimulatedDevice:
        made = SimulatedDevice(
            self._folder / port, name, HALL_KEY, str(self.ports / port), settings={"change_ms": 1, "rest_ms": 1}
        )
        made.plug_in()
        self._devices.append(made)
        return made

    def ask(self, window: str, method: str, path: str, **more: Any) -> Any:
        folder = self.hall.data_dir if window == WINDOW.window else self.hall.data_dir / f"window-{window}"
        token = (folder / "api-token").read_text().strip()
        answer = httpx.request(
            method,
            self.hall.agent.url + path,
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=15,
            **more,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def device_at(self, window: str) -> str | None:
        status = self.ask(window, "GET", "/v1/status")
        assert status["window"] == f"{WINDOW.area}/{WINDOW.hall}/{window}"
        return str(status["device"]) if status["link"] == "talking" and status["broker_connected"] else None

    def await_devices(self, **devices: str) -> None:
        for window, device in devices.items():
            eventually(f"{device} at {window}", lambda window=window, device=device: self.device_at(window[1:]) == device)  # type: ignore[misc]  # bound on purpose

    def trouble_with(self, window: str, device: str) -> str:
        trouble = str(self.ask(window, "GET", "/v1/status")["link_trouble"])
        return trouble if device in trouble else ""

    def health(self, window: str) -> Any:
        """What the collection knows of a window, once it knows how its device is."""
        known = httpx.get(f"{self.hall.collector.url}/api/v1/windows", trust_env=False).json()["items"]
        return next((one for one in known if one["window"] == window and one["health"]), None)

    def open(self, window: str, case_no: str) -> None:
        self.ask(window, "POST", "/v1/evaluations", json={"case": {"case_no": case_no}})

    def collected(self, count: int) -> list[tuple[str, str, str]]:
        """Window, device and case of each rating."""
        found = self.hall.await_collected(count)
        return sorted((one["window"], one["device"], (one["case"] or {}).get("case_no", "")) for one in found)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.agent_on_ptys", *arguments, "--config", str(self.hall.agent.config)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> None:
        for device in self._devices:
            device.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoWindows]:
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as hall:
        made = TwoWindows(tmp_path, hall)
        monkeypatch.setenv("PORTS_IN", str(made.ports))
        yield made
        made.close()


def test_each_device_finds_its_window_on_whatever_port_it_is(place: TwoWindows) -> None:
    place.hall.collector.start()
    one, two = place.device("PJ-0001", "b"), place.device("PJ-0002", "a")  # the first port has the second window's
    place.hall.agent.start()
    place.await_devices(w07="PJ-0001", w08="PJ-0002")
    place.open("07", "C-7")
    place.open("08", "C-8")
    one.press(0)
    two.press(4)
    wanted = [(WINDOW.window, "PJ-0001", "C-7"), (SECOND, "PJ-0002", "C-8")]
    assert place.collected(2) == wanted
    for window, device in (("07", "PJ-0001"), ("08", "PJ-0002")):
        known = eventually("its health is told", lambda window=window: place.health(window))  # type: ignore[misc]  # bound on purpose
        assert (known["device"], known["troubles"], known["health"]["conditions"]) == (device, [], [])
        assert abs(known["health"]["clock_ahead_ms"]) < 1000
        assert known["health"]["uptime_ms"] > 0
    said = place.command("status").stdout
    assert [f"window 533103/dating/{number}" in said for number in ("07", "08")] == [True, True]
    assert "several windows" in place.command("export").stderr
    assert "PJ-0002" in place.command("export", "--window", "08").stdout

    # killed with a rating that nobody was asked for in the outbox of each
    place.hall.broker.stop()
    one.press(1)
    two.press(1)
    for window in (WINDOW.window, SECOND):
        eventually("it waits", lambda window=window: place.ask(window, "GET", "/v1/status")["outbox_to_send"] == 1)  # type: ignore[misc]  # bound on purpose
    place.hall.agent.kill()
    place.hall.broker.start()
    place.hall.agent.start()
    assert place.collected(4) == sorted([*wanted, (WINDOW.window, "PJ-0001", ""), (SECOND, "PJ-0002", "")])
    assert place.hall.agent.stop(3.0) == 0


def test_a_device_that_no_window_names_is_no_windows_until_it_is_named(place: TwoWindows) -> None:
    place.hall.collector.start()
    place.device("PJ-0001", "a")
    place.hall.agent.start()
    place.await_devices(w07="PJ-0001")
    new = place.device("PJ-0009", "b")
    trouble = eventually("it is told of", lambda: place.trouble_with(SECOND, "PJ-0009"))
    assert "set the device.id" in trouble
    new.press(2)
    assert place.hall.agent.stop(3.0) == 0
    text = place.command("doctor", "--window", SECOND).stdout
    assert "PJ-0009" in text
    assert "PJ-0001" not in text, "what is another window's is nothing to tell of"

    file = place.hall.agent.config
    file.write_text(file.read_text().replace("PJ-0002", "PJ-0009"))
    place.hall.agent.start()
    assert place.collected(1) == [(SECOND, "PJ-0009", "")]
