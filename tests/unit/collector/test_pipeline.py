"""The thread between broker and store: nothing is acknowledged before it is durable, nothing stands in the way for ever."""

from __future__ import annotations

import queue
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from collector.config import MqttConfig
from collector.ingest.core import Ingest, Message, Taken
from collector.ingest.counters import Counters
from collector.ingest.mqtt import Broker, Delivery
from collector.ingest.pipeline import BATCH, Pipeline
from tests.chains import HALL_KEY, OTHER_KEY, PaperDevice
from tests.databases import Opened

WAIT_S = 10.0


class PaperBroker(Broker):
    """Delivers what a test puts into its inbox, and notes what is acknowledged and published."""

    def __init__(self) -> None:
        super().__init__(MqttConfig(), Counters())
        self.acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.published: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def deliver(self, mid: int, message: tuple[str, bytes]) -> None:
        self.inbox.put(Delivery(Message(*message), 1, mid, 0))

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self.acknowledged.put(delivery.mid)

    def publish(self, messages: list[Message]) -> None:
        for message in messages:
            self.published.put(message)


class FailingIngest(Ingest):
    """Raises what it is told to, before it stores."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine, {"533103/dating": HALL_KEY})
        self.failures: list[Exception] = []
        self.poison = b"\x00"
        self.sizes: list[int] = []

    def take(self, messages: Sequence[Message], now_ms: int) -> Taken:
        self.sizes.append(len(messages))
        if self.failures:
            raise self.failures.pop()
        if any(message.payload == self.poison for message in messages):
            raise ZeroDivisionError("a bug of ours")
        return super().take(messages, now_ms)


@pytest.fixture
def engine(store: Opened) -> sa.Engine:
    return store.writer


def test_while_the_database_refuses_nothing_is_acknowledged_and_then_all(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    broker, ingest, counters = PaperBroker(), FailingIngest(engine), Counters()
    ingest.failures = [
        sa.exc.DatabaseError("insert", {}, Exception("database disk image is malformed")),
        sa.exc.OperationalError("insert", {}, Exception("disk full")),
    ]
    pipeline = Pipeline(broker, ingest, counters, lambda: None)
    device = PaperDevice()
    for mid, record in enumerate(device.write_many(3)):
        broker.deliver(mid, device.message(record))
    pipeline.start()
    assert [broker.acknowledged.get(timeout=WAIT_S) for _ in range(3)] == [0, 1, 2]
    assert broker.published.get(timeout=WAIT_S).topic.endswith("/down/receipt")
    pipeline.stop()
    assert counters.snapshot()["store_retries"] == 2
    assert "disk full" in caplog.text


def test_a_message_at_which_the_program_fails_holds_up_no_other(engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    broker, ingest, counters = PaperBroker(), FailingIngest(engine), Counters()
    device = PaperDevice()
    one, two = device.write_many(2)
    broker.deliver(1, device.message(one))
    broker.deliver(2, ("hcp/v1/x", ingest.poison))
    broker.deliver(3, device.message(two))
    pipeline = Pipeline(broker, ingest, counters, lambda: None)
    pipeline.start()
    assert sorted(broker.acknowledged.get(timeout=WAIT_S) for _ in range(3)) == [1, 2, 3]
    pipeline.stop()
    assert (counters.snapshot()["stored"], counters.snapshot()["set_aside"]) == (2, 1)
    assert "is set aside" in caplog.text


def test_what_waits_is_one_batch_and_batches_are_bounded(engine: sa.Engine) -> None:
    broker, ingest = PaperBroker(), FailingIngest(engine)
    device = PaperDevice()
    for mid, record in enumerate(device.write_many(BATCH + 5)):
        broker.deliver(mid, device.message(record))
    pipeline = Pipeline(broker, ingest, Counters(), lambda: None)
    pipeline.start()
    for _ in range(BATCH + 5):
        broker.acknowledged.get(timeout=WAIT_S)
    pipeline.stop()
    assert ingest.sizes == [BATCH, 5]


def test_a_flood_of_forgeries_is_a_few_lines_in_the_log(engine: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    broker, counters = PaperBroker(), Counters()
    forger = PaperDevice(hall_key=OTHER_KEY)
    for mid, record in enumerate(forger.write_many(200)):
        broker.deliver(mid, forger.message(record))
    pipeline = Pipeline(broker, FailingIngest(engine), counters, lambda: None)
    pipeline.start()
    for _ in range(200):
        broker.acknowledged.get(timeout=WAIT_S)
    pipeline.stop()
    assert counters.snapshot()["wrong_key"] == 200
    told = [line for line in caplog.messages if "wrong_key" in line]
    assert len(told) == 1
    assert "533103/dating/07" in told[0]
    assert "somebody is forging" in told[0]


def test_an_acknowledgement_for_an_earlier_connection_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(MqttConfig(), Counters())
    sent: list[int] = []
    monkeypatch.setattr(broker._client, "ack", lambda mid, _qos: sent.append(mid))
    monkeypatch.setattr(broker, "_connection", 3)
    message = Message("t", b"")
    broker.acknowledge([Delivery(message, 1, 7, 3), Delivery(message, 1, 8, 2), Delivery(message, 0, 0, 3)])
    assert sent == [7]


def test_without_a_connection_receipts_are_dropped_and_counted() -> None:
    counters = Counters()
    Broker(MqttConfig(), counters).publish([Message("t", b"")])
    assert counters.snapshot() == {"receipts_dropped": 1}


def test_nothing_is_acknowledged_before_it_is_stored(engine: sa.Engine) -> None:
    broker = PaperBroker()
    before: list[int] = []

    class WatchingIngest(FailingIngest):
        def take(self, messages: Sequence[Message], now_ms: int) -> Taken:
            before.append(broker.acknowledged.qsize())
            return super().take(messages, now_ms)

    device = PaperDevice()
    broker.deliver(1, device.message(device.write_many(1)[0]))
    pipeline = Pipeline(broker, WatchingIngest(engine), Counters(), lambda: None)
    pipeline.start()
    assert broker.acknowledged.get(timeout=WAIT_S) == 1
    pipeline.stop()
    assert before == [0]


def test_the_broker_keeps_for_the_collector_what_it_has_not_acknowledged() -> None:
    client = Broker(MqttConfig(), Counters())._client
    assert (client._manual_ack, client._clean_session) == (True, False)
