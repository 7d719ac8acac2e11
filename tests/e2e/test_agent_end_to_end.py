"""The whole way of a rating with real processes: firmware on its VM, serial line, agent, broker, collector, and back.

Every test presses, breaks something, and compares what the collection holds afterwards with what was pressed.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from protocol.levels import Level
from tests.brokers import Broker, mosquitto_available, nats_available, start_mosquitto, start_nats
from tests.hall import ROOT, Hall, eventually

pytestmark = pytest.mark.e2e

STARTERS: dict[str, tuple[Callable[[Path], Broker], Callable[[], bool]]] = {
    "nats": (start_nats, nats_available),
    "mosquitto": (start_mosquitto, mosquitto_available),
}
BUTTONS = [level.word for level in sorted(Level, reverse=True)]


def make_hall(directory: Path, name: str = "mosquitto", protocol: str = "3.1.1", **more: Any) -> Hall:
    starter, available = STARTERS[name]
    if not available():
        pytest.skip(f"{name} is not installed")
    return Hall(directory, starter(directory / "broker"), protocol=protocol, **more)


@pytest.fixture(scope="module", params=[("nats", "3.1.1"), ("mosquitto", "3.1.1"), ("mosquitto", "5")], ids="-".join)
def hall(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """One hall for all tests with this broker; each test leaves it running, and counts from what it finds."""
    with make_hall(tmp_path_factory.mktemp("hall"), *request.param) as made:
        made.start()
        yield made


def levels(ratings: list[dict[str, Any]]) -> list[str]:
    return [str(rating["level"]) for rating in ratings]


def test_an_evaluation_is_opened_rated_collected_and_released(hall: Hall) -> None:
    before = len(hall.ratings())
    evaluation = hall.open("C-1", staff="017")
    hall.device.press(3)
    assert hall.ended(evaluation) == "rated"
    rating = hall.await_collected(before + 1)[-1]
    assert rating["level"] == "dissatisfied"
    assert rating["staff"] == "017"
    assert rating["case"] == {"case_no": "C-1"}
    assert rating["case_matches"] is True
    assert rating["historical"] is False
    hall.await_released()


def test_a_press_while_the_agent_is_stopped_arrives_marked_as_replayed(hall: Hall) -> None:
    before = len(hall.ratings())
    assert hall.agent.stop(within_s=3.0) == 0
    assert hall.window()["online"] is False
    hall.device.press(0)
    hall.device.press(4)
    hall.agent.start()
    found = hall.await_collected(before + 2)[before:]
    assert levels(found) == ["very_satisfied", "very_dissatisfied"]
    assert all(rating["historical"] for rating in found)
    assert all(rating["case"] is None for rating in found)
    eventually("the window is back", lambda: hall.window()["online"])
    hall.await_released()


def test_an_agent_killed_between_presses_loses_and_doubles_nothing(hall: Hall) -> None:
    before = len(hall.ratings())
    for button in range(5):
        hall.device.press(button)
        if button in (1, 3):
            hall.agent.kill()
            eventually("the will says that the agent is gone", lambda: hall.window()["online"] is False)
            hall.device.press(button)
            hall.agent.start()
    assert levels(hall.await_collected(before + 7)[before:]) == [BUTTONS[at] for at in (0, 1, 1, 2, 3, 3, 4)]
    eventually("the state of the new session counts, not the old will", lambda: hall.window()["online"])
    hall.await_released()


def test_presses_without_a_broker_arrive_when_it_is_back(hall: Hall) -> None:
    before = len(hall.ratings())
    hall.device.press(0)
    hall.await_collected(before + 1)
    hall.broker.stop()
    eventually("the agent notices", lambda: not hall.status()["broker_connected"])
    assert "broker" in hall.status()["broker_trouble"]
    for button in (1, 2, 3, 4):
        hall.device.press(button)
    eventually("the outbox holds them", lambda: hall.status()["outbox_to_send"] >= 4)
    assert hall.status()["oldest_waiting_ms"] in range(60_000)
    hall.broker.start()
    assert levels(hall.await_collected(before + 5)[before:]) == BUTTONS
    hall.await_talking()
    hall.await_released()
    assert hall.status()["broker_trouble"] is None


def test_a_cable_pulled_and_put_back_and_a_power_cut(hall: Hall) -> None:
    before = len(hall.ratings())
    evaluation = hall.open("C-2", timeout_s=600)
    hall.device.unplug()
    eventually("the agent notices", lambda: hall.status()["link"] != "talking")
    eventually("the collection hears of it", lambda: hall.window()["device"] is None)
    assert hall.ask("PUT", "/v1/staff", json={"staff": "018"}).status_code == 503
    hall.device.press(2)
    hall.device.plug_in()
    assert hall.ended(evaluation) == "rated"
    assert hall.await_collected(before + 1)[-1]["case"] == {"case_no": "C-2"}
    lost = hall.open("C-3", timeout_s=600)
    hall.device.cut_power()
    hall.device.plug_in()
    assert hall.ended(lost) == "device_lost"
    hall.device.press(1)
    assert hall.await_collected(before + 2)[-1]["case"] is None
    eventually("the collection names the device again", lambda: hall.window()["device"])
    hall.await_released()


def test_a_collector_that_was_away_gets_everything_once(hall: Hall) -> None:
    before = len(hall.ratings())
    hall.collector.kill()
    for button in (4, 3, 2):
        hall.device.press(button)
    eventually("all are with the broker", lambda: hall.status()["outbox_sent"] >= 3)
    eventually("a PUBACK releases nothing", lambda: hall.status()["journal_waiting"] >= 3)
    hall.collector.start()
    hall.await_collected(before + 3)
    hall.await_released()


def test_nobody_at_the_window_learns_a_level(hall: Hall) -> None:
    # the last one: by now the log tells of every level, if it tells of any
    hall.device.press(0)
    hall.device.press(4)
    evaluation = hall.open("C-9")
    hall.device.press(4)
    assert hall.ended(evaluation) == "rated"
    said = hall.agent.log.read_text()
    said += hall.ask("GET", f"/v1/evaluations/{evaluation}").text + hall.ask("GET", "/v1/status").text
    for level in Level:
        assert level.word not in said
        assert level.chinese not in said
    assert "level" not in said.lower()
    assert "Traceback" not in said


# --- what needs no collection ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """An agent and a device without a broker that answers."""
    directory = tmp_path_factory.mktemp("lone")
    with Hall(directory, Broker("none", [], 1, directory / "none.log")) as made:
        made.device.plug_in()
        made.agent.start()
        eventually("the device is there", lambda: made.status()["link"] == "talking")
        yield made


def test_a_second_agent_on_the_same_data_is_refused(lone: Hall) -> None:
    code, said = lone.agent.refused()
    assert code == 1
    assert "another agent uses this database" in said
    assert "Traceback" not in said


def refused_config(lone: Hall, tmp_path: Path, old: str, new: str) -> str:
    config = tmp_path / "agent.toml"
    text = lone.agent.config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    code, said = type(lone.agent)("host_agent", config).refused()
    assert code == 1
    assert "Traceback" not in said
    return said


def test_an_unknown_key_is_named(lone: Hall, tmp_path: Path) -> None:
    said = refused_config(lone, tmp_path, "log_level", "loglevel")
    assert "loglevel" in said
    assert "did you mean log_level?" in said


def test_a_taken_port_is_named(lone: Hall, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused_config(lone, tmp_path, "[api]\nport = 0", f"[api]\nport = {port}")
    assert f"端口 {port}" in said
    assert "change api.port" in said


def test_a_data_directory_that_cannot_be_is_named(lone: Hall, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused_config(lone, tmp_path, 'data_dir = "agent"', 'data_dir = "file/agent"')
    assert "check data_dir" in said


def test_what_the_agent_keeps_is_for_its_account_only(lone: Hall) -> None:
    assert lone.data_dir.stat().st_mode & 0o077 == 0
    for path in lone.data_dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_its_state_is_shown_by_a_command(lone: Hall) -> None:
    command = [sys.executable, "-m", "host_agent", "status", "--config", str(lone.agent.config)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert shown.returncode == 2  # there is no broker, and a script shall see that something is wrong
    assert "PJ-0001" in shown.stdout
    assert "talking" in shown.stdout
    lone.agent.stop()
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (shown.returncode, "not running" in shown.stderr) == (1, True)
    lone.agent.start()
    eventually("the device is there", lambda: lone.status()["link"] == "talking")


def test_a_stop_signal_ends_it_within_three_seconds_also_with_a_long_poll(lone: Hall) -> None:
    evaluation = lone.open("C-4", timeout_s=600)
    ended: list[str] = []

    def poll() -> None:
        try:
            lone.ask("GET", f"/v1/evaluations/{evaluation}?wait_s=10")
        except httpx.HTTPError as error:
            ended.append(type(error).__name__)

    caller = threading.Thread(target=poll)
    caller.start()
    began_s = time.monotonic()
    assert lone.agent.stop(within_s=3.0) == 0
    assert time.monotonic() - began_s < 3.0
    caller.join()
    lone.agent.start()
    # what an earlier agent had opened is still open at the device, and known
    assert lone.ask("GET", f"/v1/evaluations/{evaluation}").json()["final"] is False
    eventually("the device is there", lambda: lone.status()["link"] == "talking")
    lone.device.press(0)
    assert lone.ended(evaluation) == "rated"


def test_staff_of_a_device_that_stayed_on_is_adopted_by_a_new_agent(lone: Hall) -> None:
    assert lone.ask("PUT", "/v1/staff", json={"staff": "021"}).status_code == 204
    lone.agent.kill()
    lone.agent.start()
    eventually("the device says who serves", lambda: lone.status()["staff"] == "021")
