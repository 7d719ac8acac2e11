"""The agent's own promises: an ack only for what is durable, counters with names, and never a word about a level."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_agent.agent import ASK_AGAIN_EVERY_S, Agent
from host_agent.config import load
from host_agent.link.conversation import Conversation
from host_agent.link.device_clock import UNKNOWN
from host_agent.link.events import Received, Reported
from host_agent.store.database import FILE_NAME
from protocol.framing import Frame, FrameDecoder
from protocol.messages import Receipt, RecordMessage, Start, Unreadable, parse_message
from protocol.payloads import Reckoned
from protocol.record import Kind, parse_record
from tests.agent_bench import SESSION, PaperLine, at, hello_answer, paper_line, status
from tests.chains import PaperDevice

CONFIG = """
data_dir = "data"
place = { area = "533103", hall = "dating", window = "07" }
device = { port = "no-such-port" }
mqtt = { port = 1 }
"""


class PaperPort:
    def __init__(self, sent: list[bytes]) -> None:
        self.send = sent.append

    def close(self) -> None:
        """Nothing is open."""


class Bench:
    """An agent in this thread, in the middle of a conversation; `acks` says of each ack what another program found stored."""

    def __init__(self, folder: Path) -> None:
        file = folder / "agent.toml"
        file.write_text(CONFIG, encoding="utf-8")
        self.agent = Agent(load(file))
        self.line: PaperLine = paper_line().join()
        self.acks: list[tuple[int, int]] = []
        self._database = folder / "data" / FILE_NAME
        self.agent._attachment.conversation = self.line.conversation
        self.agent._device = hello_answer()
        self.agent._next_seq = 1  # as `join` has begun
        self.line.conversation.acknowledge = self._acknowledge  # type: ignore[method-assign]  # to look at that moment

    def _acknowledge(self, next_seq: int) -> None:
        self.acks.append((next_seq, self.stored()))
        Conversation.acknowledge(self.line.conversation, next_seq)

    def stored(self) -> int:
        reader = sqlite3.connect(self._database)
        try:
            return int(reader.execute("SELECT count(*) FROM records").fetchone()[0])
        finally:
            reader.close()

    def come(self, record: RecordMessage) -> None:
        for event in self.line.say(record, 0, at(1)):
            assert isinstance(event, Received)
            self.agent._event(event, at(1))

    def status(self) -> str:
        future = self.agent.status()
        self.agent._inbox.get_nowait()(at(1))
        return repr(future.result(0))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.agent._writer.close()


def records(*levels: int) -> list[RecordMessage]:
    device = PaperDevice()
    return [RecordMessage(record=device.write(Kind.RATING, level=level).pack()) for level in levels]


def test_an_ack_is_for_what_another_program_finds_in_the_database(bench: Bench) -> None:
    for record in records(5, 1, 3):
        bench.come(record)
    assert (bench.acks, bench.stored()) == ([], 0)
    bench.agent._keep(at(1))
    assert bench.acks == [(4, 3)]


def test_nothing_is_acknowledged_that_could_not_be_stored(bench: Bench) -> None:
    (record,) = records(2)
    bench.come(record)
    bench.agent._writer.connection.execute("PRAGMA query_only = ON")
    bench.agent._guarded(bench.agent._keep, at(1))
    assert (bench.acks, bench.stored()) == ([], 0)
    assert "store_failures" in bench.status()


def test_what_is_said_of_the_best_and_of_the_worst_is_the_same(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    said = []
    device = PaperDevice()
    for level in (5, 1):
        caplog.clear()
        record = device.write(Kind.RATING, level=level)
        bench.come(RecordMessage(record=record.pack()))
        bench.agent._keep(at(1))
        said.append((caplog.text.replace(str(record.seq), "N"), bench.status().count("level")))
    assert said[0] == said[1]
    assert said[0][1] == 0


def test_what_a_line_has_been_like_is_counted_by_name(bench: Bench) -> None:
    for _ in range(3):
        assert bench.line.say_bytes(b"\x00\x05abcdefgh\x00", at(1)) == []
    future = bench.agent.status()
    bench.agent._inbox.get_nowait()(at(1))
    counted = {name: count for name, count in future.result(0).counters.items() if name.startswith("line_damaged")}
    assert sum(counted.values()) == 3
    assert all(name.replace("_", "").replace(" ", "").isalpha() for name in counted), counted


def test_a_second_device_of_the_same_id_is_told_and_all_its_records_are_read(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.agent._outbox.meet(hello_answer(), 1)
    for record in records(5, 1, 3):
        bench.come(record)
    bench.agent._keep(at(1))
    other = PaperDevice()
    other.write_many(6)
    bench.line = PaperLine(Conversation(SESSION, at(2)))
    bench.agent._attachment.conversation = bench.line.conversation
    for event in bench.line.answer_hello(at(2), next_seq=7):
        bench.agent._event(event, at(2))
    assert Start(next_seq=4) in bench.line.read()
    for event in bench.line.record(other.written[3], at(2)):
        bench.agent._event(event, at(2))
    assert Start(next_seq=1) in bench.line.read()
    assert "another device bears this id" in caplog.text
    for one in other.written:
        for event in bench.line.record(one, at(3)):
            bench.agent._event(event, at(3))
    bench.agent._keep(at(3))
    assert bench.stored() == 3 + 6  # all of both: which of two with one number counts is the collection's to say
    assert "same_id_twice" in bench.status()


def test_a_device_put_in_the_place_of_another_gets_nothing_of_the_first_ones(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    (record,) = records(5)
    bench.agent._outbox.meet(hello_answer(), 1)
    bench.come(record)  # not yet stored when the next one says hello
    bench.line = PaperLine(Conversation(SESSION, at(2)))
    bench.agent._attachment.conversation = bench.line.conversation
    for event in bench.line.answer_hello(at(2), device="PJ-0002", oldest_seq=1, next_seq=50):
        bench.agent._event(event, at(2))
    assert Start(next_seq=1) in bench.line.read()
    assert bench.agent._outbox.next_seq(hello_answer().device) == 2
    for one in PaperDevice("PJ-0002").write_many(2):
        for event in bench.line.record(one, at(2)):
            bench.agent._event(event, at(2))
    bench.agent._keep(at(3))
    rows = bench.agent._outbox.to_send(0, 10)
    assert [row.device for row in rows] == ["PJ-0001", "PJ-0002", "PJ-0002"]


def test_a_press_is_reckoned_when_it_comes_and_never_again(bench: Bench) -> None:
    for number in range(2):
        bench.line = PaperLine(Conversation(SESSION, at(2 + number)))
        bench.agent._attachment.conversation = bench.line.conversation
        for event in bench.line.answer_hello(at(2 + number), boot=1, uptime_ms=10_000 + 1000 * number, next_seq=2):
            bench.agent._event(event, at(2 + number))
        if number == 0:
            (record,) = records(5)  # written by boot 1 when it had been up for 1 s
            bench.come(record)
            bench.agent._keep(at(2))
    (row,) = bench.agent._outbox.to_send(0, 10)
    assert row.reckoned_json is not None
    reckoned = Reckoned.from_json(row.reckoned_json.encode())
    assert reckoned.quality == "estimated"
    assert reckoned.at_ms is not None
    assert abs(reckoned.at_ms - at(2 - 9).utc_ms) <= 5
    with bench.agent._writer.transaction() as connection:
        parsed = parse_record(row.raw)
        bench.agent._outbox.accept(connection, row.device, [(parsed, row.raw)], 9, 0, lambda _record: UNKNOWN)
    assert [one.reckoned_json for one in bench.agent._outbox.to_send(0, 10)] == [row.reckoned_json]


def test_a_record_that_receipts_wait_for_and_that_is_gone_is_asked_for_again_but_not_all_the_time(bench: Bench) -> None:
    for record in records(5, 1, 3):
        bench.come(record)
    bench.agent._keep(at(1))
    bench.agent._outbox.meet(hello_answer(next_seq=4), 1)
    bench.line.read()
    whole = status(next_seq=4, receipt_seq=2)
    bench.agent._event(Reported(whole, None), at(2))
    assert not [one for one in bench.line.read() if isinstance(one, Start)]
    with bench.agent._writer.transaction() as connection:
        connection.execute("DELETE FROM records WHERE seq = 2")
    asked = 0
    for second in range(3, 3 + int(2 * ASK_AGAIN_EVERY_S)):
        bench.agent._event(Reported(whole, None), at(second))
        starts = [one for one in bench.line.read() if isinstance(one, Start)]
        assert all(start.next_seq == 2 for start in starts)
        asked += len(starts)
        bench.agent._next_seq = 4  # the device has lost it as well and passes over it
    assert asked == 2
    assert "asked_again" in bench.status()


def test_what_was_read_in_the_same_bytes_as_the_word_that_has_the_reading_begin_anew_is_not_acknowledged(bench: Bench) -> None:
    sent = records(5, 1, 3, 4)
    for record in sent[:3]:
        bench.come(record)
    bench.agent._keep(at(1))
    with bench.agent._writer.transaction() as connection:
        connection.execute("DELETE FROM records WHERE seq = 2")
    late = bench.line.say(sent[3], 0, at(2)) + bench.line.say(Unreadable(first_seq=5, count=1), 0, at(2))
    bench.agent._event(Reported(status(next_seq=6, receipt_seq=2), None), at(2))
    for event in late:
        bench.agent._event(event, at(2))
    bench.agent._keep(at(2))
    assert bench.acks == [(4, 3)]
    for record in sent[1:]:
        bench.come(record)
    bench.agent._keep(at(3))
    assert bench.acks == [(4, 3), (5, 4)]


def test_what_a_hello_puts_back_is_sent_although_later_records_have_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(bench.agent._publisher, "look_again", lambda: looked.append(1))
    bench.line = PaperLine(Conversation(SESSION, at(2)))
    bench.agent._attachment.conversation = bench.line.conversation
    for event in bench.line.answer_hello(at(2), next_seq=3):
        bench.agent._event(event, at(2))
    assert looked


def test_a_receipt_is_on_the_line_before_its_commits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = records(5)
    bench.come(record)
    bench.agent._keep(at(1))
    bench.line.read()
    on_the_line: list[bytes] = []
    monkeypatch.setattr(bench.agent._attachment, "_port", PaperPort(on_the_line))
    mac = parse_record(record.record).mac
    bench.agent._hand_receipt("PJ-0001", Receipt(next_seq=2, record_mac=mac, issued_ms=1, mac=bytes(16)), at(2))
    decoder = FrameDecoder()
    frames = [frame for data in on_the_line for frame in decoder.feed(data)]
    assert [type(parse_message(frame)) for frame in frames if isinstance(frame, Frame)] == [Receipt]
