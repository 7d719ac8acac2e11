"""The collector as a process of its own against real brokers: exact through repetition, forgery and kill -9."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from protocol.messages import Receipt
from protocol.payloads import ReceiptPayload
from protocol.signing import receipt_is_genuine
from protocol.topics import Down
from tests.brokers import Broker, mosquitto_available, nats_available, start_mosquitto, start_nats
from tests.chains import HALL_KEY, OTHER_KEY, WINDOW, PaperDevice

pytestmark = pytest.mark.e2e
START_S, SETTLE_S = 30.0, 40.0
ROOT = Path(__file__).parents[2]


@dataclass
class Collector:
    """One collector process over a data directory that outlives it."""

    config: Path
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "collector", "run", "--config", str(self.config)]
        with (self.config.parent / "collector.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        watchdog = threading.Timer(START_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line.startswith("ready http://"), (self.config.parent / "collector.log").read_text()
        self.url = line.split()[1]

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self._gone()

    def stop(self, within_s: float = 10.0) -> int:
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

    def summary(self) -> Any:
        return httpx.get(f"{self.url}/api/v1/summary", trust_env=False).json()

    def seqs(self) -> list[int]:
        """The numbers of all ratings, in order of arrival."""
        found: list[int] = []
        after = 0
        while page := httpx.get(f"{self.url}/api/v1/ratings?after={after}&limit=1000", trust_env=False).json():
            if not page["items"]:
                return found
            found += [item["seq"] for item in page["items"]]
            after = page["next"]
        return found


@dataclass
class Agent:
    """Publishes what it is given and hears receipts, as an agent would."""

    broker: Broker
    receipts: queue.SimpleQueue[ReceiptPayload] = field(default_factory=queue.SimpleQueue)
    published: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="paper-agent", clean_session=False)
        self.client.max_inflight_messages_set(100)
        self.client.on_connect = lambda client, *_: client.subscribe(WINDOW.down(Down.RECEIPT), 1) and None
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_publish = lambda _c, _d, mid, *_: self.published.put(mid)
        self.client.on_message = lambda _c, _d, message: self.receipts.put(ReceiptPayload.from_json(bytes(message.payload)))
        self.client.connect(self.broker.host, self.broker.port)
        self.client.loop_start()
        assert subscribed.wait(START_S)

    def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Return once the broker has them all, also over a reconnection (paho then says 4 and delivers later)."""
        for topic, payload in messages:
            self.client.publish(topic, payload, qos=1)
        for _ in messages:
            self.published.get(timeout=START_S)

    def await_receipt(self, device: PaperDevice, next_seq: int) -> None:
        """Wait for the receipt, checking each that comes."""
        while True:
            receipt = self.receipts.get(timeout=SETTLE_S)
            signed = Receipt(
                next_seq=receipt.next_seq,
                record_mac=bytes.fromhex(receipt.record_mac),
                issued_ms=receipt.issued_ms,
                mac=bytes.fromhex(receipt.mac),
            )
            assert receipt_is_genuine(device.key, device.device, signed)
            assert receipt.next_seq <= device.next_seq
            if receipt.next_seq == next_seq:
                return

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def write_config(directory: Path, broker: Broker, protocol: str) -> Path:
    directory.mkdir()
    key = directory / "hall.key"
    key.write_text(HALL_KEY.hex())
    os.chmod(key, 0o600)
    config = directory / "collector.toml"
    config.write_text(
        f'data_dir = "data"\n[mqtt]\nport = {broker.port}\nprotocol = "{protocol}"\n'
        '[halls."533103/dating"]\nkey_file = "hall.key"\n[http]\nport = 0\n'
    )
    return config


STARTERS: dict[str, tuple[Callable[[Path], Broker], Callable[[], bool]]] = {
    "nats": (start_nats, nats_available),
    "mosquitto": (start_mosquitto, mosquitto_available),
}


@dataclass
class Stage:
    broker: Broker
    collector: Collector
    agent: Agent


@contextmanager
def staged(directory: Path, name: str, protocol: str) -> Iterator[Stage]:
    starter, available = STARTERS[name]
    if not available():
        pytest.skip(f"{name} is not installed")
    broker = starter(directory / "broker")
    collector = Collector(write_config(directory / "collector", broker, protocol))
    try:
        collector.start()
        agent = Agent(broker)
        try:
            yield Stage(broker, collector, agent)
        finally:
            agent.close()
    finally:
        collector.kill()
        broker.stop()


@pytest.fixture(params=[("nats", "3.1.1"), ("mosquitto", "3.1.1"), ("mosquitto", "5")], ids="-".join)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, *request.param) as made:
        yield made


def test_a_chain_with_repetitions_and_a_forgery(stage: Stage) -> None:
    device, forger = PaperDevice(), PaperDevice(hall_key=OTHER_KEY)
    written = device.write_many(200)
    forger.write_many(3)
    messages = [device.message(record) for record in written]
    stage.agent.publish([*messages[:120], *messages[60:120], forger.message(forger.written[2]), *messages[120:]])
    stage.agent.await_receipt(device, 201)
    assert stage.collector.seqs() == list(range(2, 201))
    summary = stage.collector.summary()
    assert summary["evidence"]["wrong_key"] == 1
    assert summary["gaps"] == 0
    assert summary["ingest"]["duplicate"] >= 60
    command = [sys.executable, "-m", "collector", "status", "--config", str(stage.collector.config)]
    status = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=START_S, check=True).stdout.decode()
    assert "PJ-0001" in status
    assert "wrong_key 1" in status
    assert stage.collector.stop(within_s=3.0) == 0


def test_killed_in_the_middle_it_is_exact_after_the_restart(stage: Stage) -> None:
    device = PaperDevice()
    written = device.write_many(3000)
    messages = [device.message(record) for record in written]
    sender = threading.Thread(target=stage.agent.publish, args=(messages,))
    sender.start()
    try:
        stage.agent.receipts.get(timeout=SETTLE_S)  # some are stored, most are on the way
        stage.collector.kill()
    finally:
        sender.join()
    stage.collector.start()
    # an agent sends again what has no receipt; here, all of it
    stage.agent.publish(messages[-1500:])
    stage.agent.await_receipt(device, 3001)
    seqs = stage.collector.seqs()
    assert sorted(seqs) == list(range(2, 3001))
    assert stage.collector.summary()["gaps"] == 0


def test_a_broker_that_is_killed_and_returns_is_found_again(tmp_path: Path) -> None:
    with staged(tmp_path, "nats", "3.1.1") as stage:
        device = PaperDevice()
        stage.agent.publish([device.message(record) for record in device.write_many(20)])
        stage.agent.await_receipt(device, 21)
        stage.broker.kill()
        stage.broker.start()
        more = device.write_many(20)
        stage.agent.publish([device.message(record) for record in more])
        stage.agent.await_receipt(device, 41)
        assert stage.collector.seqs() == list(range(2, 41))


def test_a_stop_with_open_streams_ends_within_three_seconds(tmp_path: Path) -> None:
    with (
        staged(tmp_path, "mosquitto", "3.1.1") as stage,
        httpx.Client(trust_env=False) as client,
        client.stream("GET", f"{stage.collector.url}/events") as first,
        client.stream("GET", f"{stage.collector.url}/events") as second,
    ):
        assert next(first.iter_lines())
        assert next(second.iter_lines())
        assert stage.collector.stop(within_s=3.0) == 0


def test_a_second_collector_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with staged(tmp_path, "mosquitto", "3.1.1") as stage:
        second = subprocess.run(
            [sys.executable, "-m", "collector", "run", "--config", str(stage.collector.config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        assert second.returncode == 1
        assert "another collector is using" in second.stderr
        assert "Traceback" not in second.stderr
