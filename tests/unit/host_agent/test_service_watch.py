"""What a service manager without a watchdog is told: changes that have held, and a loop that stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from host_agent.agent import Agent
from host_agent.config import Config, MqttConfig, PlaceConfig
from host_agent.report import StatusReport
from host_agent.service.changes import SETTLE_S, Change, Changes
from host_agent.service.watch import Watch
from tests.brokers import free_port

GOOD = StatusReport(
    agent="1", window="533103/dating/07", link="talking", port="COM5", link_trouble=None, device="PJ-0001",
    device_trouble=None, firmware="1", boot=1,
    release_on_ack=False, staff="017", paused=False, evaluation=None, conditions=[], device_heard_ms=400,
    device_uptime_ms=60_000, clock_ahead_ms=-3, clock_ppm=12, journal_waiting=0, journal_free=9,
    broker_connected=True, broker_trouble=None, store_trouble=None, databases_set_aside=[], database_bytes=1,
    database_most_bytes=2, outbox_to_send=0, outbox_sent=0, oldest_waiting_ms=None, counters={"records": 5},
)  # fmt: skip
NO_DEVICE = replace(GOOD, device=None, link="searching", link_trouble="COM5 不存在 does not exist")
NO_BROKER = replace(GOOD, broker_connected=False, broker_trouble="拒绝连接 refused")
NO_DISK = replace(GOOD, store_trouble="disk full")


def told(*reports: StatusReport, each_s: float = SETTLE_S) -> list[int]:
    """Return the kinds of what is told of reports that each hold for so long."""
    changes, kinds = Changes(), []
    for number, report in enumerate(reports):
        for at_s in (number * each_s, number * each_s + 0.999 * each_s, (number + 1) * each_s):
            kinds += [change.number for change in changes.saw(report, at_s)]
    return kinds


def test_a_start_tells_what_is_there_and_each_change_is_told_once() -> None:
    assert told(GOOD, GOOD, NO_DEVICE, NO_DEVICE, GOOD) == [10, 12, 11, 10]
    assert told(GOOD, NO_BROKER, GOOD) == [10, 12, 13, 12]
    assert told(GOOD, NO_DISK, GOOD) == [10, 12, 15, 14]
    assert told(replace(NO_DEVICE, broker_connected=False)) == [11, 13], "also what is missing from the start"


def test_what_flickers_is_not_told() -> None:
    changes = Changes()
    events = [event for at_s in range(600) for event in changes.saw(GOOD if at_s % 8 < 7 else NO_DEVICE, float(at_s))]
    assert [event.number for event in events] == [12]


def test_what_is_told_names_the_trouble_and_nothing_of_a_rating() -> None:
    changes = Changes()
    changes.saw(NO_DEVICE, 0.0)
    (device, broker) = changes.saw(NO_DEVICE, SETTLE_S)
    assert device.is_bad
    assert "does not exist" in device.text
    assert not broker.is_bad
    assert "017" not in device.text + broker.text, "nobody's name either"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    place = PlaceConfig(area="533103", hall="dating", window="07")
    config = Config(data_dir=tmp_path, place=place, mqtt=MqttConfig(port=free_port()))
    made: list[Agent] = []
    ready = threading.Event()

    def run() -> None:
        made.append(Agent(config))
        ready.set()
        made[0].run()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield made[0]
    made[0].stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_loop_that_stands_still_is_found_and_one_that_turns_is_not(agent: Agent) -> None:
    found, answered = threading.Event(), threading.Event()

    def ask() -> Future[StatusReport]:
        answer = agent.status()
        answer.add_done_callback(lambda _answer: answered.set())
        return answer

    watch = Watch(ask, lambda _change: None, found.set, every_s=0.01, within_s=0.5)
    thread = threading.Thread(target=watch.run)
    thread.start()
    assert answered.wait(10)
    assert not found.is_set()
    goes_on = threading.Event()
    agent.call(lambda _desk, _now: goes_on.wait(20))
    assert found.wait(10)
    goes_on.set()
    thread.join(10)
    assert not thread.is_alive()


def test_an_end_that_takes_long_is_not_a_loop_that_stands_still() -> None:
    never: Future[StatusReport] = Future()
    found: list[bool] = []
    asked = threading.Event()

    def ask() -> Future[StatusReport]:
        asked.set()
        return never

    def told_nothing(_change: Change) -> None:
        found.append(False)

    watch = Watch(ask, told_nothing, lambda: found.append(True), every_s=0.0, within_s=0.3)
    thread = threading.Thread(target=watch.run)
    began_s = time.monotonic()
    thread.start()
    assert asked.wait(10)
    watch.end()
    thread.join(10)
    assert time.monotonic() - began_s < 10
    assert found == []
