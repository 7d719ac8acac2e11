"""The conversation with the device, driven with frames made by hand and with the real firmware on the bench."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest

from firmware.evaluator import wire
from host_agent.link import conversation as module
from host_agent.link import events as event_module
from host_agent.link.conversation import Conversation, LinkState
from host_agent.link.events import Alarmed, Answered, Identified, Received, Refused, Reported, Said, Silent, Skipped
from protocol.framing import Frame, encode_frame
from protocol.messages import (
    Ack,
    Done,
    ErrorCode,
    Hello,
    Log,
    RecordMessage,
    SignIn,
    SignOut,
    Start,
    StatusRequest,
    Time,
    TimeSource,
    Unreadable,
)
from protocol.record import Kind
from tests.agent_bench import SESSION, PaperLine, at, error, hello_answer, only, paper_line, status
from tests.chains import PaperDevice
from tests.device_bench import bench


def talking() -> PaperLine:
    return paper_line().join()


def test_hello_start_and_time_are_what_a_device_needs() -> None:
    line = paper_line()
    (hello,) = line.read()
    assert isinstance(hello, Hello)
    assert hello.session == SESSION
    assert only(line.answer_hello(), Identified).answer.device == "PJ-0001"
    assert line.conversation.state.value == "identified"
    assert line.conversation.start(5, at(1)) == 5
    start, time = line.read()
    assert start == Start(next_seq=5)
    assert time == Time(utc_ms=at(1).utc_ms, uncertainty_ms=1000, source=TimeSource.UNKNOWN)
    assert line.conversation.state.value == "talking"


def test_start_passes_over_what_the_device_no_longer_holds() -> None:
    line = paper_line()
    line.answer_hello(oldest_seq=30, next_seq=40)
    assert line.conversation.start(5, at(0)) == 30
    assert Start(next_seq=30) in line.read()


def test_hello_is_repeated_ever_more_slowly_until_answered() -> None:
    line = paper_line()
    said_s = []
    for tenth in range(1, 200):
        now = at(tenth / 10)
        assert line.conversation.tick(now) == []
        if any(isinstance(message, Hello) for message in line.read()[tenth == 1 :]):
            said_s.append(tenth / 10)
    gaps = [later - earlier for earlier, later in pairwise(said_s)]
    assert gaps == pytest.approx([0.8, 1.6, 3.2, 5.0, 5.0], abs=0.11)
    assert line.conversation.deadline_s() > 19.8


def test_the_answer_to_an_earlier_hello_or_of_another_session_is_no_answer() -> None:
    line = paper_line()
    first = line.last(Hello)
    line.conversation.tick(at(1))
    assert line.say(hello_answer(), first) == []
    assert line.answer_hello(session=SESSION + 1) == []
    assert line.conversation.state is LinkState.ASKING
    only(line.answer_hello(), Identified)


def test_a_device_whose_id_fits_no_topic_is_not_taken() -> None:
    for name in ("", "PJ 1", "评价器", "a/b"):
        line = paper_line()
        assert line.answer_hello(device=name) == []
        assert line.conversation.counters.damaged["device id"] == 1


@pytest.mark.parametrize(("oldest", "newest", "device_is_older"), [(0, 0, True), (2, 3, False)])
def test_without_a_common_version_the_old_side_is_named(oldest: int, newest: int, *, device_is_older: bool) -> None:
    line = paper_line()
    refusal = only(line.say(error(ErrorCode.VERSION, oldest << 8 | newest), line.last(Hello)), Refused)
    assert refusal.device_is_older is device_is_older
    assert line.conversation.state is LinkState.REFUSED
    # the device may be updated meanwhile: hello is said again, slowly
    assert line.conversation.deadline_s() == module.HELLO_MOST_S
    line.conversation.tick(at(module.HELLO_MOST_S))
    only(line.answer_hello(at(5)), Identified)


def test_an_answer_in_a_version_that_was_not_offered_is_refused() -> None:
    refusal = only(paper_line().answer_hello(version=9, version_min=8, version_max=9), Refused)
    assert not refusal.device_is_older


def test_records_come_in_their_turn_and_are_acknowledged_when_durable() -> None:
    device, line = PaperDevice(), talking()
    first, second, third = device.write_many(3)
    assert only(line.record(first), Received).record == first
    assert line.record(third) == []  # one before it was lost
    assert line.record(first) == []  # repeated: what is durable is said again, which is nothing yet
    assert line.read() == [Ack(next_seq=1)]
    line.conversation.acknowledge(2)
    assert line.record(first) == []
    assert line.read() == [Ack(next_seq=2), Ack(next_seq=2)]
    assert only(line.record(second), Received).raw == second.pack()
    counters = line.conversation.counters
    assert (counters.out_of_turn, counters.repeated) == (1, 2)


def broken(raw: bytes, at_byte: int, value: int) -> bytes:
    """A record with one byte changed and its CRC made right again."""
    changed = raw[:at_byte] + bytes([value]) + raw[at_byte + 1 : -4]
    return changed + zlib.crc32(changed).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("reason", "damage"),
    [
        ("crc", lambda raw: raw[:20] + b"\xaa" + raw[21:]),
        ("format", lambda raw: broken(raw, 0, 0x22)),
        ("value", lambda raw: broken(raw, 2, 99)),
        ("value", lambda raw: broken(raw, 3, 7)),
        ("value", lambda raw: broken(broken(broken(broken(raw, 4, 255), 5, 255), 6, 255), 7, 255)),
    ],
)
def test_a_record_that_is_none_is_never_acknowledged(reason: str, damage: object) -> None:
    line = talking()
    (record,) = PaperDevice().write_many(1)
    assert callable(damage)
    assert line.say(RecordMessage(record=damage(record.pack()))) == []
    assert line.read() == []
    assert line.conversation.counters.damaged[f"record {reason}"] == 1
    only(line.record(record), Received)


def test_records_before_start_are_not_taken() -> None:
    line = paper_line()
    (record,) = PaperDevice().write_many(1)
    assert line.record(record) == []
    line.answer_hello()
    assert line.record(record) == []
    assert line.say(Unreadable(first_seq=1, count=1)) == []
    assert not any(isinstance(message, Ack) for message in line.read())


def test_unreadable_records_are_passed_over_and_acknowledged_again_when_repeated() -> None:
    device, line = PaperDevice(), talking()
    written = device.write_many(6)
    assert line.say(Unreadable(first_seq=2, count=1)) == []  # not its turn
    only(line.record(written[0]), Received)
    assert only(line.say(Unreadable(first_seq=2, count=2)), Skipped) == Skipped(2, 2)
    line.conversation.acknowledge(4)
    assert line.say(Unreadable(first_seq=2, count=2)) == []
    assert line.read() == [Ack(next_seq=4), Ack(next_seq=4)]
    # the device went back to a record that is here and has become unreadable since, with the next one
    assert only(line.say(Unreadable(first_seq=3, count=2)), Skipped) == Skipped(4, 1)
    only(line.record(written[4]), Received)


def test_a_count_beyond_all_numbers_is_damage() -> None:
    line = talking()
    assert line.say(Unreadable(first_seq=1, count=0xFFFFFFFF)) == []
    assert line.say(Unreadable(first_seq=1, count=0)) == []
    assert line.conversation.counters.damaged["skip value"] == 1


def test_records_released_meanwhile_are_not_waited_for() -> None:
    line = talking()
    skipped, reported = line.say(status(oldest_seq=33, next_seq=40))
    assert skipped == Skipped(1, 32, was_released=True)
    assert isinstance(reported, Reported)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00AT+CGMM\r\n\x00", "encoding"),
        (encode_frame(Done().frame(2))[:6] + b"\x00", "encoding"),
        (b"\x00" + b"x" * 400 + b"\x00", "oversized"),
        (bytes([0, 0x19, 1 + 4, 5, 6, 7, 0]), "short"),
    ],
)
def test_garbage_is_counted_and_answered_by_nothing(data: bytes, reason: str) -> None:
    line = talking()
    assert line.say_bytes(data) == []
    assert sum(line.conversation.counters.damaged.values()) == 1, reason
    assert line.read() == []
    assert only(line.say(status()), Reported)


def test_every_flipped_bit_of_a_record_frame_is_noticed() -> None:
    (record,) = PaperDevice().write_many(1)
    frame = encode_frame(RecordMessage(record=record.pack()).frame())
    for bit in range(8 * len(frame)):
        line = talking()
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        events = line.say_bytes(bytes(flipped)) + line.say_bytes(b"\x00")
        # a flipped delimiter may leave the frame whole; anything else must not come through
        assert all(isinstance(event, Received) and event.record == record for event in events)


def test_unknown_types_wrong_lengths_and_our_own_words_are_counted() -> None:
    line = talking()
    assert line.say_bytes(encode_frame(Frame(0x7E, 0, b"abc"))) == []
    assert line.say(SignOut(), 5) == []
    assert line.conversation.counters.unknown == 2
    assert line.say_bytes(encode_frame(Frame(Unreadable.CODE, 0, b"abc"))) == []
    assert line.conversation.counters.damaged["message length"] == 1


def test_a_request_is_repeated_then_given_up() -> None:
    line = talking()
    number = line.conversation.request(SignOut(), at(0))
    assert line.conversation.deadline_s() == 1.0
    for second in (1, 2, 3):
        line.say(status(), 0, at(second))
        assert line.conversation.tick(at(second)) == []
    assert [message for message in line.read() if not isinstance(message, Time)] == [SignOut()] * 4
    assert line.conversation.tick(at(4)) == [Answered(number, None, gave_up=True)]
    assert line.say(Done(), number) == []  # too late


def test_a_request_is_answered_once_by_done_or_error() -> None:
    line = talking()
    first = line.conversation.request(SignOut(), at(0))
    second = line.conversation.request(SignOut(), at(0))
    assert line.say(Done(), first) == [Answered(first, None)]
    assert line.say(Done(), first) == []
    line.read()  # now the second one goes
    assert line.say(error(ErrorCode.JOURNAL_FULL), second) == [Answered(second, ErrorCode.JOURNAL_FULL)]
    assert line.say(Done(), 999) == []


def test_requests_that_undo_each_other_go_one_at_a_time_so_that_none_is_repeated_after_its_successor() -> None:
    line = talking()
    line.read()
    conversation = line.conversation
    first = conversation.request(SignIn(staff="1"), at(0))
    second = conversation.request(SignIn(staff="2"), at(0))
    third = conversation.request(SignOut(), at(0))
    conversation.request(StatusRequest(), at(0))  # undoes nothing, waits for nothing
    assert line.read() == [SignIn(staff="1"), StatusRequest()]
    assert conversation.tick(at(1)) == []  # the answer was lost
    assert line.read() == [SignIn(staff="1"), StatusRequest()]
    line.say(Done(), first, at(1))
    assert line.read() == [SignIn(staff="2")]
    conversation.withdraw(third)
    conversation.withdraw(second)  # too late
    line.say(Done(), second, at(1))
    assert line.read() == []


def test_a_request_that_is_given_up_lets_the_next_one_go() -> None:
    line = talking()
    line.conversation.request(SignIn(staff="1"), at(0))
    line.conversation.request(SignOut(), at(0))
    for second in (1, 2, 3, 4):
        line.say(status(), 0, at(second))
        line.conversation.tick(at(second))
    said = [message for message in line.read() if not isinstance(message, Time)]
    assert said == [SignIn(staff="1")] * 4 + [SignOut()]
    assert line.conversation.deadline_s() == 5.0


def test_after_the_numbers_of_requests_have_gone_round_answers_still_arrive() -> None:
    line = paper_line()
    line.answer_hello()
    line.conversation.start(1, at(0))
    start = line.last(Start)
    assert line.say(Done(), start) == []
    line.conversation._correlation = 0xFFFF  # after a day and a half of heartbeats
    for number in range(1, start + 1):
        assert line.conversation.request(StatusRequest(), at(0)) == number
        events = line.say(Done(), number)
    assert events == [Answered(start, None)]


def test_a_status_does_not_swallow_a_request() -> None:
    line = talking()
    number = line.conversation.request(SignOut(), at(0))
    only(line.say(status(), number), Reported)
    assert line.say(Done(), number) == [Answered(number, None)]


def test_a_request_for_a_status_is_answered_by_it_and_not_repeated() -> None:
    line = talking()
    line.read()
    number = line.conversation.request(StatusRequest(), at(0))
    only(line.say(status(), number + 1), Reported)  # the answer to something else
    line.conversation.tick(at(1.0))
    assert line.read() == [StatusRequest(), StatusRequest()]
    only(line.say(status(), number), Reported)
    for second in (1.5, 1.9, 2.0):
        assert line.conversation.tick(at(second)) == []
    assert not [message for message in line.read() if isinstance(message, StatusRequest)]


def test_start_is_repeated_and_without_it_everything_begins_anew() -> None:
    line = paper_line()
    line.answer_hello()
    line.conversation.start(1, at(0))
    assert line.say(error(ErrorCode.VALUE), line.last(Start)) == []
    for second in (1, 2, 3):
        line.say(status(), 0, at(second))
        assert line.conversation.tick(at(second)) == []
    only(line.conversation.tick(at(4)), Silent)
    assert line.conversation.state is LinkState.SILENT


def test_starting_again_replaces_the_start_before() -> None:
    line = paper_line()
    line.answer_hello(next_seq=50)
    line.conversation.start(10, at(0))
    line.conversation.start(5, at(0))
    line.read()
    line.conversation.tick(at(1))
    assert [message for message in line.read() if isinstance(message, Start)] == [Start(next_seq=5)]


def test_the_heartbeat_carries_the_time_as_it_is_now() -> None:
    line = talking()
    assert line.conversation.deadline_s() == module.HEARTBEAT_S
    line.conversation.tick(at(2))
    assert [message.utc_ms for message in line.read() if isinstance(message, Time)] == [at(2).utc_ms]


def test_an_identified_device_waits_for_start_without_haste() -> None:
    line = paper_line()
    line.answer_hello(at(1))
    # no deadline in the past, or the loop would spin for as long as the database cannot say from which record on
    assert line.conversation.deadline_s() == 1 + module.SILENT_S
    assert line.conversation.tick(at(3)) == []
    assert not any(isinstance(message, Time) for message in line.read())


def test_after_a_silence_hello_is_said_and_old_requests_are_forgotten() -> None:
    line = talking()
    line.conversation.request(SignOut(), at(module.SILENT_S - 0.5))
    line.read()
    only(line.conversation.tick(at(module.SILENT_S)), Silent)
    (hello,) = line.read()
    assert isinstance(hello, Hello)
    assert line.say(status(), 0, at(7)) == []  # left over
    line.answer_hello(at(7))
    line.conversation.start(1, at(7))
    line.say(Done(), line.last(Start), at(7))
    line.read()
    for tenth in range(75, 130):
        line.say(status(), 0, at(tenth / 10))
        line.conversation.tick(at(tenth / 10))
    assert not any(isinstance(message, SignOut) for message in line.read())
    assert line.conversation.counters.silences == 1


def test_a_device_that_restarted_says_so_and_is_greeted_once() -> None:
    line = talking()
    only(line.say(error(ErrorCode.NO_HELLO), 7), Silent)
    # to each frame that was on the way, also to an ack, which has no number: no alarm
    assert line.say(error(ErrorCode.NO_HELLO), 0) == []
    assert sum(isinstance(message, Hello) for message in line.read()) == 1
    only(line.answer_hello(boot=4), Identified)


def test_alarms_and_sentences_are_passed_on() -> None:
    line = talking()
    assert only(line.say(error(ErrorCode.JOURNAL_FULL)), Alarmed).error.code is ErrorCode.JOURNAL_FULL
    assert only(line.say(Log(uptime_ms=1, severity=3, text="测试")), Said).log.text == "测试"
    asking = paper_line()
    assert asking.say(error(ErrorCode.JOURNAL_FULL)) == []
    assert asking.say(error(ErrorCode.VALUE), 3) == []


# --- with the real firmware --------------------------------------------------------------------------------------


def exchange(conversation: Conversation, device: object, seconds: float, begin_s: float) -> list[object]:
    """Let both run; take what comes, acknowledge it, return all events."""
    from simulator.device.in_process import BenchDevice

    assert isinstance(device, BenchDevice)
    events: list[object] = []
    for step in range(int(seconds * 50)):
        now = at(begin_s + step / 50)
        device.board.to_device += conversation.take_output()
        device.run(20)
        new = conversation.receive(bytes(device.board.from_device), now) + conversation.tick(now)
        device.board.from_device.clear()
        for event in new:
            if isinstance(event, Identified):
                conversation.start(0, now)
            elif isinstance(event, Received):
                conversation.acknowledge(event.record.seq + 1)
        events += new
    return events


def test_the_firmware_is_understood_also_after_a_power_cut() -> None:
    device = bench(change_ms=1, rest_ms=1)
    conversation = Conversation(SESSION, at(0))
    device.press(0)
    device.run(50)
    device.press(4)
    events = exchange(conversation, device, 5, 0)
    kinds = [event.record.kind for event in events if isinstance(event, Received)]
    assert kinds == [Kind.BOOT, Kind.RATING, Kind.RATING]
    device.power_on()
    device.run(100)
    device.press(1)
    events = exchange(conversation, device, 5, 5)
    assert sum(isinstance(event, Silent) for event in events) == 1
    assert not any(isinstance(event, Alarmed) for event in events)
    assert [event.record.seq for event in events if isinstance(event, Received)][-1] == 5


@pytest.mark.parametrize(
    ("agent", "device"), [((1, 2), (1, 1)), ((1, 1), (1, 2))], ids=["the agent is one newer", "the device is one newer"]
)
def test_sides_one_version_apart_talk_in_the_older_one(
    agent: tuple[int, int], device: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OLDEST_PROTOCOL_VERSION", agent[0])
    monkeypatch.setattr(module, "PROTOCOL_VERSION", agent[1])
    monkeypatch.setattr(wire, "OLDEST_PROTOCOL_VERSION", device[0])
    monkeypatch.setattr(wire, "PROTOCOL_VERSION", device[1])
    newer = bench(change_ms=1, rest_ms=1)
    newer.press(2)
    conversation = Conversation(SESSION, at(0))
    events = exchange(conversation, newer, 2, 0)
    identified = events[0]
    assert isinstance(identified, Identified)
    assert identified.answer.version == 1
    assert [event.record.kind for event in events if isinstance(event, Received)] == [Kind.BOOT, Kind.RATING]


def test_firmware_that_has_given_up_all_we_speak_names_us_as_the_old_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OLDEST_PROTOCOL_VERSION", 2)
    monkeypatch.setattr(wire, "PROTOCOL_VERSION", 3)
    events = exchange(Conversation(SESSION, at(0)), bench(), 1, 0)
    refusal = events[0]
    assert isinstance(refusal, Refused)
    assert (refusal.oldest, refusal.newest) == (2, 3)
    assert not refusal.device_is_older


def test_firmware_that_is_older_than_all_we_speak_is_named_as_the_old_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST_PROTOCOL_VERSION", 2)
    monkeypatch.setattr(event_module, "OLDEST_PROTOCOL_VERSION", 2)
    monkeypatch.setattr(module, "PROTOCOL_VERSION", 3)
    events = exchange(Conversation(SESSION, at(0)), bench(), 1, 0)
    refusal = events[0]
    assert isinstance(refusal, Refused)
    assert (refusal.oldest, refusal.newest) == (1, 1)
    assert refusal.device_is_older
