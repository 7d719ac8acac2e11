"""The agent's way to a real broker over a network that hangs, breaks and dawdles, and with a twin of itself at the other end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host_agent.instant import Instant, read_clocks
from host_agent.store.absences import AbsenceStore
from host_agent.store.database import Writer
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox
from host_agent.uplink import delivery, mqtt
from host_agent.uplink.mqtt import TAKEN_OVER, MqttLink
from host_agent.uplink.mqtt import Broker as Address
from host_agent.uplink.publisher import Publisher
from simulator.chaos.proxy import Proxy
from tests.agent_bench import DEVICE, hello_answer
from tests.brokers import Broker, mosquitto_available, start_mosquitto, start_nats
from tests.chains import WINDOW, PaperDevice
from tests.hall import eventually

pytestmark = pytest.mark.e2e


class Uplink:
    """The real publisher, outbox and MQTT client in a thread; `acknowledged` counts records that the broker has taken."""

    def __init__(self, folder: Path, port: int, name: str = "hcp-agent-test") -> None:
        self._posted: queue.SimpleQueue[Callable[[Instant], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self.made = 0
        self.trouble: str | None = None
        self.connected = False
        self.acknowledged = 0
        self.device = PaperDevice()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, port, name), name="uplink")
        self._thread.start()
        assert self._begun.wait(10)

    def _run(self, folder: Path, port: int, name: str) -> None:
        writer = Writer(folder)
        self._outbox = Outbox(writer)
        self._outbox.meet(hello_answer(), 1)
        self._writer = writer

        def connect(*arguments: object) -> MqttLink:
            self.made += 1
            return MqttLink(*arguments)  # type: ignore[arg-type]  # what a Connect is given

        publisher = Publisher(
            Address("127.0.0.1", port),
            name,
            WINDOW,
            self._outbox,
            LateCaseStore(writer),
            AbsenceStore(writer),
            self._posted.put,
            lambda *_: None,
            connect,
            read_clocks,
        )
        publisher.start(read_clocks())
        self._begun.set()
        while not self._stopping.is_set():
            try:
                self._posted.get(timeout=0.02)(read_clocks())
            except queue.Empty:
                publisher.step(read_clocks())
                self.trouble, self.connected = publisher.trouble, publisher.is_connected
                self.acknowledged = self._outbox.waiting().sent
        publisher.stop(read_clocks())
        writer.close()

    def write(self, count: int) -> None:
        written = [(one, one.pack()) for one in self.device.write_many(count)]
        stored = threading.Event()

        def store(now: Instant) -> None:
            with self._writer.transaction() as connection:
                self._outbox.accept(connection, DEVICE, written, now.utc_ms)
            stored.set()

        self._posted.put(store)
        assert stored.wait(10)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(15)
        assert not self._thread.is_alive()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    made = start_mosquitto(tmp_path / "broker")
    yield made
    made.stop()


@pytest.fixture
def way(tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Uplink, Proxy]]:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 2)  # also how long paho waits for the answer to a CONNECT
    with Proxy(broker.port) as proxy:
        uplink = Uplink(tmp_path / "data", proxy.port)
        eventually("it connects", lambda: uplink.connected)
        yield uplink, proxy
        proxy.heal()
        uplink.stop()


def test_a_half_open_connection_is_replaced_when_a_record_is_not_acknowledged(
    way: tuple[Uplink, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    uplink, proxy = way
    monkeypatch.setattr(delivery, "PUBACK_WITHIN_S", 0.5)
    proxy.hang()
    uplink.write(50)
    eventually("it gives the connection up", lambda: uplink.made >= 2)
    assert uplink.acknowledged == 0
    proxy.heal()
    monkeypatch.setattr(delivery, "PUBACK_WITHIN_S", 30.0)
    eventually("everything arrives over another one", lambda: uplink.acknowledged == 50)


def test_over_a_connection_that_breaks_again_and_again_everything_arrives(way: tuple[Uplink, Proxy]) -> None:
    uplink, proxy = way
    total = 0
    for _ in range(2):
        uplink.write(150)
        total += 150
        proxy.cut()
        eventually("it is noticed", lambda: not uplink.connected)
        eventually("it comes back", lambda: uplink.connected)
    eventually("everything arrives", lambda: uplink.acknowledged == total)
    assert uplink.made == 1  # the client's own reconnecting, which repeats what is in flight


def test_over_a_slow_connection_everything_arrives_and_nothing_is_taken_for_broken(way: tuple[Uplink, Proxy]) -> None:
    uplink, proxy = way
    proxy.delay_s = 0.15
    uplink.write(250)
    eventually("everything arrives", lambda: uplink.acknowledged == 250)
    assert (uplink.made, proxy.accepted) == (1, 1)


@pytest.mark.parametrize("kind", ["mosquitto", "nats"])
def test_a_copy_of_the_data_directory_is_suspected_said_and_no_storm(tmp_path: Path, kind: str) -> None:
    if kind == "mosquitto" and not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    broker = start_mosquitto(tmp_path / "broker") if kind == "mosquitto" else start_nats(tmp_path / "broker")
    uplinks = [Uplink(tmp_path / name, broker.port, "one-and-the-same") for name in ("original", "copy")]
    try:
        eventually("one of them suspects it", lambda: TAKEN_OVER in (uplinks[0].trouble, uplinks[1].trouble))
        said = [uplink for uplink in uplinks if uplink.trouble == TAKEN_OVER]
        assert said
        assert "installation" in TAKEN_OVER
    finally:
        for uplink in uplinks:
            uplink.stop()
        broker.stop()
