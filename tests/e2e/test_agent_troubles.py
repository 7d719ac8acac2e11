"""What an agent meets in the field besides a broken line: a full disk, a broker that refuses, its own bugs."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from host_agent.agent import Agent
from host_agent.config import load
from host_agent.errors import RequestError
from host_agent.uplink.mqtt import Broker as Address
from host_agent.uplink.mqtt import Listener, MqttLink
from protocol.payloads import State
from protocol.topics import Down, Up
from tests.brokers import Broker, free_port, mosquitto_available, start_mosquitto
from tests.chains import WINDOW
from tests.disks import fill_up, small_disk
from tests.hall import Hall, eventually

pytestmark = pytest.mark.e2e


def without_broker(directory: Path) -> Hall:
    return Hall(directory, Broker("none", [], free_port(), directory / "none.log"))


def test_on_a_full_disk_nothing_is_acknowledged_and_then_nothing_is_missing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "agent"), without_broker(tmp_path) as hall:
        hall.device.plug_in()
        hall.agent.start()
        eventually("the device is there", lambda: hall.status()["link"] == "talking")
        hall.device.press(0)
        eventually("it is stored", lambda: hall.status()["outbox_to_send"] == 2)  # with the boot
        filler = fill_up(hall.data_dir)

        def press_until_it_fails() -> Any:
            hall.device.press(1)
            return hall.status()["store_trouble"]

        assert "full" in eventually("the database complains", press_until_it_fails)
        answer = hall.ask("POST", "/v1/evaluations", json={"case": {"case_no": "C-1"}})
        assert (answer.status_code, answer.json()["error"]) == (503, "store")
        before = hall.agent.log.read_text().count("cannot be written")
        for _ in range(3):
            hall.device.press(2)
        stored = hall.status()["outbox_to_send"]
        filler.unlink()
        eventually("it recovers by itself", lambda: hall.status()["store_trouble"] is None)
        eventually("all that was pressed is here", lambda: hall.status()["outbox_to_send"] >= stored + 3)
        log = hall.agent.log.read_text()
        assert before == log.count("cannot be written") == 1
        assert "Traceback" not in log
        hall.device.press(0)
        total = hall.status()["outbox_to_send"]
        eventually("and the next", lambda: hall.status()["outbox_to_send"] >= total)
        hall.agent.stop()
        seqs = sequence(hall)
        assert seqs == list(range(1, len(seqs) + 1))


def sequence(hall: Hall) -> list[int]:
    import sqlite3

    connection = sqlite3.connect(hall.data_dir / "agent.db")
    try:
        return [seq for (seq,) in connection.execute("SELECT seq FROM records ORDER BY id")]
    finally:
        connection.close()


# --- an agent in this process ------------------------------------------------------------------------------------


class InThread:
    """A whole agent in a thread, so that a test can put things into its way."""

    def __init__(self, config: Path) -> None:
        self.ended: BaseException | None = None
        made: queue.SimpleQueue[Agent] = queue.SimpleQueue()

        def run() -> None:
            agent = Agent(load(config))
            made.put(agent)
            try:
                agent.run()
            except BaseException as error:
                self.ended = error

        self.thread = threading.Thread(target=run, name="agent")
        self.thread.start()
        self.agent = made.get(timeout=10)

    def stop(self) -> None:
        self.agent.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple[Hall, InThread]]:
    with without_broker(tmp_path) as hall:
        hall.device.plug_in()
        running = InThread(hall.agent.config)
        eventually("the device is there", lambda: running.agent.status().result(10).link == "talking")
        yield hall, running
        running.stop()


def test_a_database_that_fails_again_and_again_is_told_once(
    inside: tuple[Hall, InThread], caplog: pytest.LogCaptureFixture
) -> None:
    hall, running = inside
    agent = running.agent

    def limit(pages: int) -> None:
        agent.call(lambda _desk, _now: agent._writer.connection.execute(f"PRAGMA max_page_count = {pages}")).result(10)

    with caplog.at_level(logging.INFO):
        limit(1)  # the least is what the file has already
        hall.device.unplug()  # also what is said at hello has to be written
        for _ in range(40):
            hall.device.press(1)
        hall.device.plug_in()
        eventually("it fails", lambda: agent.status().result(10).counters.get("store_failures", 0) >= 2)
        assert agent.status().result(10).journal_waiting != 0
        limit(1 << 30)
        eventually("it recovers", lambda: agent.status().result(10).outbox_to_send == 41)
    assert [record.message for record in caplog.records if "cannot be written" in record.message][1:] == []


def test_a_callers_mistake_is_the_callers_and_a_bug_ends_the_agent(inside: tuple[Hall, InThread]) -> None:
    _hall, running = inside
    agent = running.agent

    def fails(*_arguments: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        agent.call(fails).result(10)
    assert agent.status().result(10).link == "talking"
    agent._inbox.put(fails)
    eventually("the bug ends it", lambda: running.ended)
    assert isinstance(running.ended, ZeroDivisionError)


def test_who_asks_an_agent_that_has_ended_is_told_at_once(inside: tuple[Hall, InThread]) -> None:
    _hall, running = inside
    running.stop()
    for _ in range(2):
        error = running.agent.status().exception(timeout=1)
        assert isinstance(error, RequestError)
        assert (error.status, error.code) == (503, "stopping")


# --- brokers that refuse -----------------------------------------------------------------------------------------


class Heard:
    """What an MQTT link tells."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def listener(self) -> Listener:
        def keep(word: str) -> Callable[[Any], None]:
            return lambda what: self.said.put((word, what))

        return Listener(
            connected=keep("connected"),
            disconnected=keep("disconnected"),
            refused=keep("refused"),
            published=keep("published"),
            received=lambda topic, payload: self.said.put(("received", (topic, payload))),
        )

    def next(self, word: str) -> Any:
        while True:
            heard, what = self.said.get(timeout=15)
            if heard == word:
                return what


def will(session: str) -> bytes:
    return State(session=session, online=False, since_ms=1, agent="0").to_json()


@contextmanager
def link_to(broker: Broker, protocol: str = "3.1.1", **more: Any) -> Iterator[tuple[MqttLink, Heard]]:
    heard = Heard()
    link = MqttLink(
        Address(broker.host, broker.port, protocol, **more),
        "agent",
        100,
        WINDOW.down(Down.RECEIPT),
        WINDOW.up(Up.STATE),
        will,
        heard.listener(),
    )
    link.start()
    try:
        yield link, heard
    finally:
        link.stop()


@contextmanager
def mosquitto(folder: Path, more: str = "") -> Iterator[Broker]:
    if not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    broker = start_mosquitto(folder, more=more)
    try:
        yield broker
    finally:
        broker.stop()


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_login_that_is_refused_is_told_for_what_it_is(tmp_path: Path, protocol: str) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    with (
        mosquitto(tmp_path / "broker", f"allow_anonymous false\npassword_file {passwords}\n") as broker,
        link_to(broker, protocol, username="w07", password="wrong") as (_, heard),
    ):
        for _ in range(2):
            assert "check mqtt.username" in heard.next("disconnected")


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_missing_rights_are_told(tmp_path: Path, protocol: str) -> None:
    rights = tmp_path / "rights"
    rights.write_text(f"topic write {WINDOW.up(Up.STATE)}\n")
    rights.chmod(0o700)
    with (
        mosquitto(tmp_path / "broker", f"acl_file {rights}\n") as broker,
        link_to(broker, protocol) as (link, heard),
    ):
        heard.next("connected")
        number = link.publish(WINDOW.up(Up.STATE), b"x")
        assert heard.next("published") == number
        if protocol == "5":
            link.publish(WINDOW.up(Up.RECORD), b"x")
            assert "check the agent's rights" in heard.next("refused")
        # brokers with a stricter idea of subscriptions say so at once; this one never delivers
        link._on_subscribe(link._client, None, 1, [ReasonCode(PacketTypes.SUBACK, identifier=0x80)], None)
        assert "no right to subscribe" in heard.next("refused")


def test_after_a_broker_restart_what_is_in_flight_is_acknowledged_once_and_the_session_is_new(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, link_to(broker) as (link, heard):
        first = heard.next("connected")
        broker.kill()
        heard.next("disconnected")
        numbers = [link.publish(WINDOW.up(Up.RECORD), b"x") for _ in range(50)]
        broker.start()
        assert heard.next("connected") != first
        assert [heard.next("published") for _ in numbers] == numbers
        assert heard.said.empty()


def test_a_stop_does_not_wait_for_a_broker_that_hangs(tmp_path: Path) -> None:
    import socket
    import time

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hanging = Broker("hangs", [], silent.getsockname()[1], tmp_path / "none.log")
        with link_to(hanging):
            connection, _ = silent.accept()
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 3.0
        connection.close()
