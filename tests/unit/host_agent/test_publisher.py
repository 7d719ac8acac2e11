"""The publisher over a real outbox and a broker of paper: what is sent, sent again, marked, and said of it."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_agent.evaluations import Evaluation
from host_agent.instant import Instant
from host_agent.store.absences import AbsenceStore
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox, Row
from host_agent.uplink import publisher as module
from host_agent.uplink.delivery import CHECK_EVERY_S
from host_agent.uplink.mqtt import TAKEN_OVER, Broker, Listener
from host_agent.uplink.publisher import MARK_WITHIN_S, Publisher
from host_agent.uplink.takeover import STANDING_S
from protocol.messages import Receipt
from protocol.payloads import DeviceHealth, DeviceState, Health, LateCase, LateCaseKept, ReceiptPayload, RecordEvent, State
from protocol.record import Record, RecordFlag
from protocol.signing import sign_receipt
from protocol.topics import Down, Up
from tests.agent_bench import DEVICE, at, delete_delivered, hello_answer
from tests.chains import CASE, EVALUATION, WINDOW, PaperDevice

DAY_MS = 86_400_000
HEALTHY = DeviceHealth(uptime_ms=60_000, conditions=[], clock_ahead_ms=-3, clock_ppm=12, bad_frames=0, resent=1)


class PaperLink:
    """An MQTT client that keeps what it is given."""

    made: list[PaperLink] = []  # noqa: RUF012  # emptied by the fixture

    def __init__(
        self, _broker: Broker, _client_id: str, _window: int, subscription: str, _topic: str, will: Any, listener: Listener
    ) -> None:
        self.listener = listener
        self.will = will
        self.subscription = subscription
        self.sent: list[tuple[str, bytes]] = []
        self.is_stopped = False
        PaperLink.made.append(self)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.is_stopped = True

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        assert retain == topic.endswith("/state")
        assert qos == (0 if topic.endswith("/health") else 1)
        self.sent.append((topic, payload))
        return len(self.sent)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.writer = Writer(folder)
        self.outbox = Outbox(self.writer)
        self.late_cases = LateCaseStore(self.writer)
        self.outbox.meet(hello_answer(), 1)
        self.device = PaperDevice()
        self.now = at(0)
        self.receipts: list[tuple[str, Receipt]] = []
        self.begin()

    def begin(self) -> None:
        self.publisher = Publisher(
            Broker("broker", 1),
            "client",
            WINDOW,
            self.outbox,
            self.late_cases,
            AbsenceStore(self.writer),
            self.post,
            lambda device, receipt, _now: self.receipts.append((device, receipt)),
            PaperLink,
            lambda: self.now,
        )
        self.publisher.start(self.now)

    def post(self, what: Callable[[Instant], None]) -> None:
        what(self.now)

    @property
    def link(self) -> PaperLink:
        return PaperLink.made[-1]

    def connect(self, session: str = "a" * 32) -> None:
        self.link.listener.connected(session)

    def trouble(self) -> str | None:
        return self.publisher.trouble

    def write(self, count: int) -> list[Record]:
        written = self.device.write_many(count)
        with self.writer.transaction() as connection:
            self.outbox.accept(connection, DEVICE, [(one, one.pack()) for one in written], self.now.utc_ms)
        return written

    def step(self, seconds: float = 0.0, clock_ms: int = 0) -> None:
        self.now = Instant(self.now.mono_s + seconds, self.now.utc_ms + int(1000 * seconds) + clock_ms)
        self.publisher.step(self.now)

    def of(self, up: Up) -> list[Any]:
        return [json.loads(payload) for topic, payload in self.link.sent if topic == WINDOW.up(up)]

    def seqs(self) -> list[int]:
        return [event["data"]["seq"] for event in self.of(Up.RECORD)]

    def puback_all(self) -> None:
        for number in range(1, len(self.link.sent) + 1):
            self.link.listener.published(number)
        self.step()
        self.step(MARK_WITHIN_S)

    def receipt(self, record: Record) -> None:
        receipt = sign_receipt(self.device.key, DEVICE, record.seq + 1, record.mac, 1)
        payload = ReceiptPayload(
            device=DEVICE, next_seq=receipt.next_seq, record_mac=record.mac.hex(), issued_ms=1, mac=receipt.mac.hex()
        )
        self.link.listener.received(WINDOW.down(Down.RECEIPT), payload.to_json())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    PaperLink.made.clear()
    made = Stage(tmp_path)
    yield made
    made.writer.close()


def test_a_late_case_goes_out_on_its_topic_and_its_answer_comes_back(stage: Stage) -> None:
    assert stage.link.subscription == WINDOW.all_down
    device = PaperDevice()
    record = device.write(flags=RecordFlag.FREE_STANDING)
    with stage.writer.transaction() as connection:
        stage.outbox.accept(connection, DEVICE, [(record, record.pack())], 1)
    rating = stage.late_cases.rating(DEVICE, 1)
    assert rating is not None
    stage.late_cases.name(rating, CASE, None, 1)
    stage.step()
    assert stage.of(Up.CASE) == []  # not connected
    stage.link.listener.connected("a" * 32)
    stage.step()
    (said,) = stage.of(Up.CASE)
    assert LateCase.model_validate(said).case == CASE
    assert stage.link.sent[-1][0] != WINDOW.up(Up.STATE)
    stage.link.listener.received(WINDOW.down(Down.CASE), LateCaseKept(device=DEVICE, seq=1, is_first=True).to_json())
    stage.puback_all()
    stage.step(61)
    assert len(stage.of(Up.CASE)) == 1
    assert stage.publisher.refused_receipts == 0


def test_records_are_published_in_order_once_connected_and_only_once(stage: Stage) -> None:
    stage.write(3)
    stage.step()
    assert stage.link.sent == []
    stage.connect()
    stage.step()
    stage.step()
    assert stage.seqs() == [1, 2, 3]
    assert RecordEvent.model_validate(stage.of(Up.RECORD)[0]).id == "PJ-0001/1"
    stage.puback_all()
    stage.write(1)
    stage.step(1)
    assert stage.seqs() == [1, 2, 3, 4]
    assert stage.outbox.waiting().sent == 3


@pytest.mark.parametrize("clock_ms", [-DAY_MS, 0, DAY_MS])
def test_without_a_receipt_it_is_sent_again_after_a_minute_of_running_whatever_the_clock(stage: Stage, clock_ms: int) -> None:
    stage.connect()
    written = stage.write(2)
    stage.step()
    stage.puback_all()
    stage.step(30, clock_ms)
    stage.step(20)
    assert stage.seqs() == [1, 2]
    stage.step(20)
    assert stage.seqs() == [1, 2, 1, 2]
    assert [event["data"]["historical"] for event in stage.of(Up.RECORD)[2:]] == [True, True]
    stage.puback_all()
    stage.receipt(written[1])
    assert stage.receipts[0][1].next_seq == 3
    stage.step(8000)
    assert len(stage.seqs()) == 4


def test_a_receipt_goes_to_the_device_also_when_it_cannot_be_noted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.connect()
    written = stage.write(2)
    stage.step()
    stage.puback_all()

    def fails(*_arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(stage.outbox, "receipt", fails)
    with pytest.raises(sqlite3.OperationalError):
        stage.receipt(written[1])
    assert stage.receipts[0][1].next_seq == 3
    monkeypatch.undo()
    stage.step(70)
    assert stage.seqs() == [1, 2, 1, 2], "what is not noted is sent again, and gets a receipt again"


def test_what_a_refused_receipt_puts_back_goes_at_once_also_when_nothing_was_to_send(stage: Stage) -> None:
    stage.connect()
    written = stage.write(2)
    stage.step()
    stage.puback_all()
    receipt = sign_receipt(stage.device.key, DEVICE, 3, written[1].mac, 1)
    stage.outbox.receipt(DEVICE, receipt)
    stage.begin()
    stage.connect()
    stage.step(1)
    assert stage.seqs() == []
    assert stage.publisher.receipt_refused(DEVICE, receipt, 1, stage.now) == 2
    stage.step()
    assert stage.seqs() == [1, 2]


def test_an_outbox_that_had_nothing_is_not_asked_again_before_something_is_put_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    reads = stage.outbox.to_send

    def counted(after_id: int, limit: int) -> list[Row]:
        nonlocal asked
        asked += 1
        return reads(after_id, limit)

    monkeypatch.setattr(stage.outbox, "to_send", counted)
    stage.connect()
    stage.step()
    assert asked == 1
    for _ in range(3):
        stage.step(1)
    assert asked == 1
    stage.write(1)
    stage.step()
    assert (asked, stage.seqs()) == (3, [1])
    stage.step(CHECK_EVERY_S)  # whatever was overlooked is found with what is overdue
    assert asked == 4


def test_what_was_sent_before_a_restart_is_sent_again_too(stage: Stage) -> None:
    stage.connect()
    stage.step(500)
    stage.write(2)
    stage.step()
    stage.puback_all()
    stage.now = Instant(3.0, stage.now.utc_ms - DAY_MS)  # the PC was started anew, and its clock has an empty battery
    stage.begin()
    stage.connect()
    stage.step()
    stage.step(50)
    assert stage.seqs() == []
    stage.step(20)
    assert stage.seqs() == [1, 2]


def test_a_connection_that_acknowledges_nothing_is_replaced_and_everything_said_again(stage: Stage) -> None:
    stage.connect()
    stage.write(2)
    stage.step()
    first = stage.link
    stage.step(31)
    assert first.is_stopped
    assert stage.link is not first
    assert not stage.publisher.is_connected
    first.listener.published(3)  # of the old one: nothing
    first.listener.connected("b" * 32)
    assert not stage.publisher.is_connected
    stage.connect("c" * 32)
    stage.step()
    assert stage.seqs() == [1, 2]


def test_a_broker_that_was_away_for_long_is_not_taken_for_stuck(stage: Stage) -> None:
    stage.connect()
    stage.write(2)
    stage.step()
    stage.link.listener.disconnected("gone")
    stage.step(600)
    stage.connect("b" * 32)
    stage.step()
    assert len(PaperLink.made) == 1
    assert stage.seqs() == [1, 2]  # the client itself repeats what is in flight


def test_each_connection_has_its_own_session_in_state_health_and_will(stage: Stage) -> None:
    will = State.from_json(stage.link.will("a" * 32))
    assert (will.session, will.online, will.device) == ("a" * 32, False, None)
    for session in ("a" * 32, "b" * 32):
        stage.connect(session)
        stage.step(5)
        assert stage.of(Up.STATE)[-1]["session"] == stage.of(Up.HEALTH)[-1]["session"] == session
        stage.link.listener.disconnected("gone")
    stage.connect("c" * 32)
    stage.publisher.stop(stage.now)
    last = stage.of(Up.STATE)[-1]
    assert (last["session"], last["online"]) == ("c" * 32, False)
    assert stage.link.is_stopped


def test_the_device_at_the_window_is_said_when_it_changes(stage: Stage) -> None:
    device = DeviceState(device=DEVICE, firmware="1.0", boot=3, release_on_ack=False)
    stage.publisher.device_changed(device, stage.now)  # not connected yet: said with the first state
    stage.connect()
    stage.publisher.device_changed(device, stage.now)
    stage.publisher.device_changed(None, stage.now)
    assert [state.get("device", {}).get("device") for state in stage.of(Up.STATE)] == [DEVICE, None]


def test_the_state_is_said_again_for_a_broker_that_has_lost_it(stage: Stage) -> None:
    stage.connect()
    stage.step()
    for _ in range(25):
        stage.step(5)
    assert [state["online"] for state in stage.of(Up.STATE)] == [True] * 3  # at once, after one minute and after two


def test_health_counts_and_its_oldest_is_a_duration(stage: Stage) -> None:
    stage.connect()
    stage.step()
    assert "oldest_waiting_ms" not in stage.of(Up.HEALTH)[-1]
    stage.write(2)
    stage.publisher.device_said(7, 80, HEALTHY)
    stage.step(3)
    health = Health.model_validate(stage.of(Up.HEALTH)[-1])
    assert (health.outbox_to_send, health.oldest_waiting_ms) == (2, 3000)
    assert (health.journal_waiting, health.journal_free) == (7, 80)
    assert health.device == HEALTHY
    stage.publisher.device_said(7, 79, HEALTHY)
    stage.step(5, -DAY_MS)
    assert stage.of(Up.HEALTH)[-1]["oldest_waiting_ms"] == 0


def test_what_is_wrong_with_the_device_is_told_of_at_once(stage: Stage) -> None:
    stage.connect()
    stage.publisher.device_said(0, 80, HEALTHY)
    stage.step()
    before = len(stage.of(Up.HEALTH))
    stage.publisher.device_said(0, 80, HEALTHY.model_copy(update={"clock_ppm": 13}))
    stage.step(0.1)
    assert len(stage.of(Up.HEALTH)) == before, "that can wait"
    stage.publisher.device_said(0, 80, HEALTHY.model_copy(update={"conditions": ["key_stuck"]}))
    stage.step(0.1)
    assert [one["device"]["conditions"] for one in stage.of(Up.HEALTH)[before:]] == [["key_stuck"]]


def test_a_receipt_that_is_none_or_fits_nothing_is_counted(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.connect()
    with caplog.at_level(logging.WARNING):
        stage.link.listener.received("t", b"{")
    assert "is no receipt" in caplog.text
    stage.receipt(stage.device.fork().write_many(1)[0])
    assert stage.publisher.refused_receipts == 2
    assert stage.receipts == []


def test_troubles_are_told_once_until_it_works_again(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            stage.link.listener.disconnected("one cause")
            stage.link.listener.disconnected("another")
        assert [record.message for record in caplog.records] == ["one cause", "another"]
        assert stage.trouble()
        stage.connect()
        assert not stage.trouble()
        stage.link.listener.refused("no right")
        stage.link.listener.refused("no right")
        assert stage.trouble() == "no right"
        assert stage.publisher.is_connected
        assert len(caplog.records) == 3


def test_a_collector_that_gives_no_receipt_is_a_trouble_until_it_gives_one(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    written = stage.write(2)
    stage.connect()
    stage.step()
    stage.puback_all()
    stage.step(1)
    assert not stage.trouble()
    stage.step(120)
    assert "is the device's key the hall's?" in (stage.trouble() or "")
    assert caplog.text.count("no receipt from the collector") == 1
    stage.receipt(written[-1])
    assert not stage.trouble()


def test_a_row_that_is_damaged_holds_up_no_other_and_makes_room_for_the_device_s_own(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    written = stage.write(3)
    with stage.writer.transaction() as connection:
        connection.execute("UPDATE records SET raw = zeroblob(128) WHERE seq = 2")
    stage.connect()
    stage.step()
    stage.step(1)
    assert stage.seqs() == [1, 3]
    assert "is asked for again" in caplog.text
    assert not stage.outbox.holds(DEVICE, 2)
    with stage.writer.transaction() as connection:
        stage.outbox.accept(connection, DEVICE, [(one, one.pack()) for one in written], stage.now.utc_ms)
    stage.step()
    assert stage.seqs() == [1, 3, 2]


@pytest.mark.parametrize("damage", ["UPDATE evaluations SET case_json = '{'", "UPDATE records SET reckoned_json = '{'"])
def test_a_rating_is_sent_when_only_what_goes_with_it_is_damaged(stage: Stage, damage: str) -> None:
    EvaluationStore(stage.writer).add(Evaluation(EVALUATION.hex(), CASE, 60_000, 1))
    record = stage.device.write(evaluation=EVALUATION, case=CASE)
    with stage.writer.transaction() as connection:
        stage.outbox.accept(connection, DEVICE, [(record, record.pack())], stage.now.utc_ms)
        connection.execute(damage)
    came_ms = stage.now.utc_ms
    stage.connect()
    stage.step(10)
    (event,) = stage.of(Up.RECORD)
    assert event["data"]["seq"] == 1
    assert stage.outbox.holds(DEVICE, 1)
    assert event["data"]["received_at_ms"] == came_ms  # what is whole stays as it was


def test_a_window_of_records_is_on_its_way_and_no_more(stage: Stage) -> None:
    stage.write(250)
    stage.connect()
    stage.step()
    assert len(stage.seqs()) == module.WINDOW
    stage.puback_all()
    assert len(stage.seqs()) == 2 * module.WINDOW
    stage.puback_all()
    stage.puback_all()
    assert stage.seqs() == list(range(1, 251))
    stage.step(61)
    stage.puback_all()
    stage.puback_all()
    assert stage.seqs() == [*range(1, 251), *range(1, 251)]


def test_thirty_days_without_a_broker_are_kept_and_then_leave_in_order_a_window_at_a_time(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    days, a_day = 30, 1000 if request.config.getoption("--long") else 70
    for _day in range(days):
        stage.write(a_day)
        stage.step(86_400)
        assert delete_delivered(stage.writer, stage.now.utc_ms - DAY_MS) == 0  # too old to be kept, were they delivered
    assert stage.outbox.waiting().to_send == days * a_day
    stage.connect()
    published: list[int] = []
    while True:
        before = len(stage.link.sent)
        stage.step()
        numbers = range(before + 1, len(stage.link.sent) + 1)
        new = [json.loads(stage.link.sent[number - 1][1])["data"] for number in numbers if is_record(stage, number)]
        assert len(new) <= module.WINDOW
        assert all(one["historical"] for one in new)
        published += [one["seq"] for one in new]
        if not new:
            break
        for number in numbers:
            stage.link.listener.published(number)
    assert published == list(range(1, days * a_day + 1))
    stage.receipt(stage.device.written[-1])
    assert stage.outbox.waiting().oldest_ms is None


def is_record(stage: Stage, number: int) -> bool:
    return stage.link.sent[number - 1][0] == WINDOW.up(Up.RECORD)


def test_a_suspected_copy_stays_said_while_connected_until_the_connection_has_stood(stage: Stage) -> None:
    stage.link.listener.disconnected(TAKEN_OVER)
    stage.connect()
    stage.link.listener.refused(TAKEN_OVER)
    stage.step(STANDING_S - 1)
    assert stage.trouble() == TAKEN_OVER
    stage.step(2)
    assert stage.trouble() is None


def test_a_stop_with_a_database_that_fails_still_says_goodbye(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.connect()
    stage.write(1)
    stage.step()
    stage.link.listener.published(2)

    def fails(_ids: object, _run_ms: int) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(stage.outbox, "mark_sent", fails)
    stage.publisher.stop(stage.now)
    assert stage.of(Up.STATE)[-1]["online"] is False
