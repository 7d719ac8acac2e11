"""What an agent does when it is asked from afar: a whole agent in this thread, a line and a broker of paper."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from host_agent.agent import Agent
from host_agent.config import load
from host_agent.doctor import Grade
from host_agent.doctor.remote import requests as look
from host_agent.link.events import Received
from host_agent.remote.gate import RefusedError
from host_agent.report import TOLD, StatusReport
from host_agent.service.log_ring import MOST_CHARACTERS, LogRing
from host_agent.store.schema import DISPUTED, RECEIPTED, SENT, TO_SEND
from host_agent.surroundings import Surroundings
from host_agent.uplink.mqtt import Broker, Listener
from protocol.messages import Done, RecordMessage, Start
from protocol.payloads import RemoteAnswer
from protocol.record import Record
from protocol.remote import MOST_LINES, MOST_RECORDS, make_request
from protocol.signing import derive_remote_key
from protocol.topics import Down, Up
from tests.agent_bench import DEVICE, PaperLine, at, hello_answer, paper_line
from tests.chains import HALL_KEY, WINDOW, PaperDevice

KEY = derive_remote_key(HALL_KEY, WINDOW)
SESSION = "a" * 32
CONFIG = """
data_dir = "data"
place = { area = "533103", hall = "dating", window = "07" }
device = { port = "no-such-port" }
mqtt = { port = 1 }
remote = { key_file = "remote.key", allow = ["status", "log", "records", "restart_link"] }
"""


class PaperLink:
    """An MQTT client that keeps what it is given."""

    def __init__(
        self, _broker: Broker, _client_id: str, _window: int, _subscription: str, _topic: str, _will: Any, listener: Listener
    ) -> None:
        self.listener = listener
        self.sent: list[tuple[str, bytes]] = []

    def start(self) -> None:
        """Nothing is connected."""

    def stop(self) -> None:
        """Nothing is connected."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        assert (qos, retain) == (1, False) or not topic.endswith("/answer")
        self.sent.append((topic, payload))
        return len(self.sent)


class Bench:
    """A window's agent that talks to a device which holds records 1 to 9."""

    def __init__(self, folder: Path, config: str = CONFIG, key: bytes = KEY) -> None:
        (folder / "remote.key").write_text(key.hex() + "\n", encoding="utf-8")
        file = folder / "agent.toml"
        file.write_text(config, encoding="utf-8")
        self.config = load(file)
        self.lines: list[str] = []
        self.agent = Agent(self.config, Surroundings(connect=self._link, log_lines=lambda count: self.lines[-count:]))
        self.device = PaperDevice()
        self.line: PaperLine = paper_line().join(next_seq=10)
        self.agent._attachment.conversation = self.line.conversation
        self.agent._device = hello_answer(next_seq=10)
        self.agent._next_seq = 1
        self.agent._outbox.meet(hello_answer(next_seq=10), 1)
        self.agent._publisher.start(at(0))
        self.agent._publisher._connected(SESSION, at(0))
        self.number = 0

    def _link(self, *arguments: Any) -> PaperLink:
        self.broker = PaperLink(*arguments)
        return self.broker

    def hold(self, records: list[Record]) -> None:
        with self.agent._writer.transaction() as connection:
            self.agent._outbox.accept(connection, DEVICE, [(one, one.pack()) for one in records], 1)
            self.agent._outbox.advance(connection, DEVICE, records[-1].seq + 1)
        self.agent._next_seq = records[-1].seq + 1

    def ask(self, kind: str, **arguments: object) -> tuple[str, Any]:
        """Ask; return word and body of the answer."""
        self.number += 1
        request = make_request(KEY, WINDOW, SESSION, f"{self.number:032x}", kind, json.dumps(arguments))
        before = len(self.broker.sent)
        self.agent._publisher._received(WINDOW.down(Down.REQUEST), request.to_json(), at(self.number * 10))
        answers = [payload for topic, payload in self.broker.sent[before:] if topic == WINDOW.up(Up.ANSWER)]
        if not answers:
            return "", None
        said = RemoteAnswer.from_json(answers[0])
        assert len(answers[0]) < 60_000
        return said.word, json.loads(said.body)

    def states(self) -> dict[int, int]:
        return dict(self.agent._writer.connection.execute("SELECT seq, state FROM records"))

    def set_state(self, seq: int, state: int) -> None:
        self.agent._writer.connection.execute("UPDATE records SET state = ? WHERE seq = ?", (state, seq))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.agent._writer.close()


def test_the_status_tells_what_helps_and_neither_staff_nor_evaluation(bench: Bench) -> None:
    bench.agent._desk.staff = "PLANTED-7"
    assert bench.agent._report(at(1)).staff == "PLANTED-7"
    word, told = bench.ask("status")
    assert word == "ok"
    assert (told["window"], told["link"], told["device"], told["broker_connected"]) == (WINDOW.path, "talking", DEVICE, True)
    assert not {"staff", "evaluation"} & set(told)
    assert {field.name for field in fields(StatusReport)} - TOLD == {"staff", "evaluation"}, "whether it may be told is decided"
    assert "PLANTED" not in json.dumps(told)
    assert bench.ask("status")[1]["counters"]["remote_answered"] == 1


def test_records_go_again_whatever_their_state_and_each_is_told_where_it_is(bench: Bench) -> None:
    bench.hold(bench.device.write_many(5))
    bench.agent._publisher.step(at(100))
    bench.agent._publisher._acked(deque(range(1, len(bench.broker.sent) + 1)), at(100))
    bench.agent._publisher.step(at(101))
    assert set(bench.states().values()) == {SENT}
    bench.broker.sent.clear()
    for seq, state in ((1, RECEIPTED), (2, SENT), (3, DISPUTED), (4, RECEIPTED)):
        bench.set_state(seq, state)
    bench.agent._writer.connection.execute("DELETE FROM records WHERE seq = 5")
    assert bench.ask("records", device=DEVICE, first_seq=1, last_seq=3)[1] == {
        "sent_again": 3,
        "asked_of_device": 0,
        "nowhere": 0,
    }
    assert bench.states() == {1: TO_SEND, 2: TO_SEND, 3: TO_SEND, 4: RECEIPTED}
    bench.agent._publisher.step(at(102))
    sent = [json.loads(payload)["data"]["seq"] for topic, payload in bench.broker.sent if topic == WINDOW.up(Up.RECORD)]
    assert sent == [1, 2, 3]
    bench.line.read()
    word, told = bench.ask("records", device=DEVICE, first_seq=4, last_seq=12)
    assert (word, told) == ("ok", {"sent_again": 1, "asked_of_device": 5, "nowhere": 3})
    assert Start(next_seq=5) in bench.line.read(), "the device is asked from the first that is missing"


def test_what_the_device_sends_again_is_stored_and_sent(bench: Bench) -> None:
    records = bench.device.write_many(9)
    bench.hold(records)
    bench.agent._writer.connection.execute("DELETE FROM records WHERE seq = 5")
    bench.ask("records", device=DEVICE, first_seq=5, last_seq=5)
    bench.line.say(Done(), bench.line.last(Start), at(20))
    for record in records[4:]:
        for event in bench.line.say(RecordMessage(record=record.pack()), 0, at(21)):
            bench.agent._event(event, at(21))
    bench.agent._keep(at(22))
    assert sorted(bench.states()) == list(range(1, 10))


def test_before_a_device_is_asked_again_what_came_from_it_is_durable(bench: Bench) -> None:
    records = bench.device.write_many(7)
    bench.hold(records[:5])
    bench.agent._event(Received(records[5], records[5].pack()), at(1))
    assert sorted(bench.states()) == [1, 2, 3, 4, 5]
    bench.agent._read_from(DEVICE, 3, at(1))
    assert sorted(bench.states()) == [1, 2, 3, 4, 5, 6]
    assert bench.agent._next_seq == 3
    bench.agent._next_seq = 7
    bench.agent._event(Received(records[6], records[6].pack()), at(1))
    bench.agent._writer.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(RefusedError):
        bench.agent._read_from(DEVICE, 3, at(2))
    assert bench.agent._store_trouble.error is not None, "and what could not be stored is asked of the device again"


def test_of_a_device_that_is_not_here_only_what_is_held_goes_again(bench: Bench) -> None:
    assert bench.ask("records", device="PJ-9", first_seq=1, last_seq=4)[1] == {
        "sent_again": 0,
        "asked_of_device": 0,
        "nowhere": 4,
    }


@pytest.mark.parametrize(
    ("kind", "arguments", "word"),
    [
        ("records", {"device": DEVICE, "first_seq": 1, "last_seq": MOST_RECORDS}, "ok"),
        ("records", {"device": DEVICE, "first_seq": 1, "last_seq": MOST_RECORDS + 1}, "too_large"),
        ("records", {"device": DEVICE, "first_seq": 0, "last_seq": 0xFFFFFFFF}, "too_large"),
        ("records", {"device": DEVICE, "first_seq": 2, "last_seq": 1}, "bad_arguments"),
        ("log", {"lines": MOST_LINES}, "ok"),
        ("log", {"lines": 0}, "bad_arguments"),
        ("log", {"lines": MOST_LINES + 1}, "too_large"),
    ],
)
def test_one_request_is_bounded(bench: Bench, kind: str, arguments: dict[str, object], word: str) -> None:
    assert bench.ask(kind, **arguments)[0] == word


def test_records_that_cannot_be_put_back_are_told_of_and_the_agent_goes_on(bench: Bench) -> None:
    bench.hold(bench.device.write_many(2))
    bench.agent._writer.connection.execute("PRAGMA query_only = ON")
    assert bench.ask("records", device=DEVICE, first_seq=1, last_seq=2)[0] == "unavailable"
    assert bench.ask("status")[0] == "ok"


@pytest.mark.parametrize("line", ["x" * 500, "窗" * 500, '"' * 500, "\\" * 500])
def test_a_log_goes_as_far_back_as_a_message_has_room(bench: Bench, line: str) -> None:
    bench.lines = [f"{number} {line}" for number in range(600)]
    word, told = bench.ask("log", lines=500)
    assert word == "ok"
    kept = told["lines"]
    assert 10 < len(kept) < 500
    assert kept == bench.lines[-len(kept) :], "the newest, in their order"
    assert bench.ask("log", lines=3)[1] == {"lines": bench.lines[-3:]}


def test_only_what_the_configuration_names_is_done_and_by_default_what_only_reads(tmp_path: Path) -> None:
    for name, allow, wanted in (
        ("default", "", ["ok", "ok", "not_allowed", "not_allowed"]),
        ("named", ', allow = ["records"]', ["not_allowed", "not_allowed", "ok", "not_allowed"]),
        ("none", ", allow = []", ["not_allowed"] * 4),
    ):
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name, CONFIG.replace(', allow = ["status", "log", "records", "restart_link"]', allow))
        records = bench.ask("records", device=DEVICE, first_seq=1, last_seq=1)[0]
        assert [bench.ask("status")[0], bench.ask("log")[0], records, bench.ask("restart_link")[0]] == wanted
        bench.agent._writer.close()


def test_without_a_key_that_can_be_used_nobody_is_answered_and_the_doctor_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, config, key, grade in (
        ("off", CONFIG.replace("remote =", "#remote ="), KEY, Grade.OK),
        ("missing", CONFIG.replace("remote.key", "other.key"), KEY, Grade.FAIL),
        ("no key", CONFIG, b"short", Grade.FAIL),
    ):
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name, config, key)
        assert bench.ask("status") == ("", None)
        assert look(bench.config.remote).grade is grade
        bench.agent._writer.close()
    assert sum("no remote request is answered" in one.message for one in caplog.records) == 2


def test_a_key_file_that_is_open_to_others_is_told_of(bench: Bench) -> None:
    assert bench.config.remote.key_file is not None
    bench.config.remote.key_file.chmod(0o644)
    assert look(bench.config.remote).grade is Grade.WARN
    bench.config.remote.key_file.chmod(0o640)
    assert look(bench.config.remote).grade is Grade.OK


def test_the_last_lines_are_kept_printable_and_bounded() -> None:
    ring, log = LogRing(), logging.getLogger("of a test of the ring")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(ring)
    for number in range(MOST_LINES):
        log.info("line %d", number)
    log.debug("not logged")
    log.info("two\nlines \x1b[31m \ud800%s", "x" * 1000)
    kept = ring.last(MOST_LINES + 1)
    assert len(kept) == MOST_LINES
    assert kept[0].endswith("line 2")
    assert kept[-2].endswith("two")
    assert kept[-1].startswith("lines ?[31m ?xx")
    assert len(kept[-1]) == MOST_CHARACTERS
    assert ring.last(1) == kept[-1:]
