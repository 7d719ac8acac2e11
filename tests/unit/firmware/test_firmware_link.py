"""The device's end of the line: silence, answers, repetition, and hosts that misbehave."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from firmware.evaluator.feedback import SOUND_THANKS
from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import (
    Ack,
    Cancel,
    CancelReason,
    Done,
    Error,
    ErrorCode,
    Hello,
    HelloAnswer,
    Language,
    Message,
    Open,
    Pause,
    PauseReason,
    Prompt,
    Receipt,
    RecordMessage,
    Resume,
    Say,
    SignIn,
    SignOut,
    Start,
    Status,
    StatusRequest,
    Time,
    TimeSource,
    parse_message,
)
from protocol.record import parse_record
from protocol.signing import sign_receipt
from simulator.device.in_process import BenchDevice
from tests.device_bench import DEVICE, DIGEST, EVALUATION, KEY, Host, bench

HELLO = Hello(version_min=1, version_max=1, schema_hash=0, session=7, window=8)
TIME = Time(utc_ms=1_790_000_000_000, uncertainty_ms=5, source=TimeSource.SYNCHRONISED)
OPEN = Open(evaluation=EVALUATION, context_digest=DIGEST, timeout_ms=60_000, language=Language.MANDARIN)
REQUESTS: list[Message] = [
    Start(next_seq=1),
    TIME,
    StatusRequest(),
    OPEN,
    Cancel(evaluation=EVALUATION, reason=CancelReason.BY_STAFF),
    SignIn(staff="017"),
    SignOut(),
    Pause(reason=PauseReason.BREAK),
    Resume(),
    Say(prompt=Prompt.WELCOME, number=0, language=Language.DAI),
    sign_receipt(KEY, DEVICE, 2, bytes(16), 1),
]
NAMES = [type(request).__name__ for request in REQUESTS]


def with_records(count: int) -> BenchDevice:
    device = bench(change_ms=0, rest_ms=10)
    for _ in range(count):
        device.press(0, hold_ms=32)
    return device


def payload_frame(request: Message, payload: bytes) -> Frame:
    return Frame(request.CODE, 77, payload)


def heard_seqs(frames: list[Frame]) -> list[int]:
    return [parse_record(frame.payload).seq for frame in frames if frame.type == RecordMessage.CODE]


@pytest.mark.parametrize(
    "noise",
    [
        b"AT\r\nATE1 E0\r\nAT+GCAP\r\nATI\r\n" * 20,
        b"\x03\x03\r\n\x04\x01\x02",
        b"\x00" * 500,
        b"\xff" * 2000,
        bytes(range(256)) * 8,
        b"\x00" + b"\x05" * 600 + b"\x00",
    ],
)
def test_noise_is_not_answered_and_the_hello_after_it_is(noise: bytes) -> None:
    device = with_records(3)
    device.board.to_device += noise
    device.run(2000)
    assert device.board.from_device == b""
    assert Host(device).hello().device == DEVICE


def test_a_device_says_nothing_of_its_own_before_hello_and_start() -> None:
    device = with_records(20)
    device.run(20_000)
    assert device.board.from_device == b""
    host = Host(device)
    host.hello()
    assert host.listen(3000) == [], "records wait for Start"
    assert heard_seqs(host.start(ms=200)) == list(range(1, 22))


@pytest.mark.parametrize("request_", REQUESTS, ids=NAMES)
def test_whatever_comes_before_hello_is_told_so(request_: Message) -> None:
    answer = Host(bench()).ask(request_, Error)
    assert (answer.code, answer.about) == (ErrorCode.NO_HELLO, request_.CODE)


@pytest.mark.parametrize(
    ("request_", "change"),
    [(request, change) for request in REQUESTS for change in (-1, 1, 100) if change > 0 or request.pack()],
)
def test_a_wrong_length_is_told(request_: Message, change: int) -> None:
    host = Host(bench()).join()
    payload = request_.pack()
    wrong = payload[:change] if change < 0 else payload + bytes(change)
    answer = host.ask(payload_frame(request_, wrong), Error)
    assert (answer.code, answer.about) == (ErrorCode.LENGTH, request_.CODE)


@pytest.mark.parametrize(
    ("request_", "payload"),
    [
        (TIME, TIME.pack()[:-1] + b"\x03"),
        (OPEN, OPEN.pack()[:-1] + b"\x04"),
        (OPEN, bytes(16) + OPEN.pack()[16:]),
        (OPEN, OPEN.pack()[:32] + (999).to_bytes(4, "little") + b"\x00"),
        (OPEN, OPEN.pack()[:32] + (3_600_001).to_bytes(4, "little") + b"\x00"),
        (REQUESTS[4], EVALUATION + b"\x00"),
        (REQUESTS[5], bytes(16)),
        (REQUESTS[5], b"\xff" * 16),
        (REQUESTS[5], b"0\x0017".ljust(16, b"\x00")),
        (REQUESTS[7], b"\x04"),
    ],
)
def test_a_value_outside_its_list_is_told_and_changes_nothing(request_: Message, payload: bytes) -> None:
    device = bench()
    host = Host(device).join()
    before = bytes(device.flash.content)
    answer = host.ask(payload_frame(request_, payload), Error)
    assert (answer.code, answer.about) == (ErrorCode.VALUE, request_.CODE)
    assert bytes(device.flash.content) == before
    assert host.status().evaluation == bytes(16)


def test_a_receipt_that_does_not_fit_releases_nothing() -> None:
    device = with_records(3)
    host = Host(device).join()
    host.listen(100)
    good = host.receipt(4)
    assert isinstance(good, Receipt)
    stranger = sign_receipt(bytes(32), DEVICE, 4, good.record_mac, 1)
    other_device = sign_receipt(KEY, "PJ-0002", 4, good.record_mac, 1)
    other_chain = sign_receipt(KEY, DEVICE, 4, bytes(16), 1)
    future = sign_receipt(KEY, DEVICE, 6, bytes(16), 1)
    for wrong in (stranger, other_device, other_chain, future):
        assert host.ask(wrong, Error).code is ErrorCode.RECEIPT
        assert host.status().receipt_seq == 1
        assert host.status().conditions != 0
    host.ask(good, Done)
    host.ask(good, Done)
    assert (host.status().receipt_seq, host.status().conditions) == (4, 0)


def test_an_unknown_request_is_told_and_an_echo_of_our_own_words_is_not_answered() -> None:
    host = Host(bench()).join()
    for code in (0x00, 0x01, 0x27, 0x3F):
        answer = host.ask(Frame(code, 9, b"abc"), Error)
        assert (answer.code, answer.about) == (ErrorCode.UNKNOWN_TYPE, code)
    for code in (0x40, 0x45, 0x7F, 0xFF):
        host.send_frame(Frame(code, 9, b"abc"))
        assert host.listen(50) == []


def test_a_terminal_that_echoes_does_not_begin_an_endless_conversation() -> None:
    device = with_records(2)
    host = Host(device)
    host.send(StatusRequest(), 5)
    said = 0
    for _ in range(200):
        device.run(2)
        said += len(device.board.from_device)
        device.board.to_device += device.board.from_device
        device.board.from_device.clear()
    assert said < 40, "one NO_HELLO"


@pytest.mark.parametrize(("least", "most"), [(2, 9), (0, 0), (3, 2)])
def test_a_host_without_a_common_version_is_told_ours(least: int, most: int) -> None:
    device = with_records(2)
    host = Host(device).join()
    answer = host.ask(Hello(version_min=least, version_max=most, schema_hash=0, session=7, window=8), Error)
    assert (answer.code, answer.about, answer.detail) == (ErrorCode.VERSION, Hello.CODE, 1 << 8 | 1)
    device.press(0)
    assert host.listen(1000) == [], "the conversation before is over as well"


def test_a_hello_of_a_later_version_is_understood() -> None:
    hello = Hello(version_min=1, version_max=3, schema_hash=9, session=7, window=200)
    answer = Host(bench()).ask(Frame(Hello.CODE, 3, hello.pack() + b"new fields"), HelloAnswer)
    assert (answer.version, answer.session) == (1, 7)


def test_a_hello_cut_short_is_told_even_without_a_conversation() -> None:
    answer = Host(bench()).ask(Frame(Hello.CODE, 3, HELLO.pack()[:-1]), Error)
    assert (answer.code, answer.about) == (ErrorCode.LENGTH, Hello.CODE)


def test_hello_tells_who_the_device_is() -> None:
    device = with_records(3)
    answer = Host(device).hello()
    assert (answer.device, answer.session, answer.boot, answer.oldest_seq, answer.next_seq, answer.receipt_seq) == (
        DEVICE,
        7,
        1,
        1,
        5,
        1,
    )
    assert answer.capacity == 240
    assert device.now - 20 <= answer.uptime_ms <= device.now


def test_time_is_answered_with_status_and_used_in_records() -> None:
    device = bench()
    host = Host(device).join()
    assert host.ask(TIME, Status).utc_ms == TIME.utc_ms
    device.run(500)
    device.press(0)
    host.listen(100)
    record = host.records[-1]
    assert TIME.utc_ms + 500 <= record.utc_ms <= TIME.utc_ms + 700
    assert record.quality == 3


@pytest.mark.parametrize("window", [0, 1, 3, 32, 255])
def test_no_more_than_the_window_is_on_its_way(window: int) -> None:
    device = with_records(50)
    host = Host(device, acknowledges=False)
    host.hello(window)
    allowed = min(max(window, 1), 32)
    assert heard_seqs(host.start(ms=250)) == list(range(1, allowed + 1))
    host.send(Ack(next_seq=2))
    assert heard_seqs(host.listen(250)) == [allowed + 1]


def test_without_an_ack_everything_is_repeated_with_growing_patience() -> None:
    device = with_records(5)
    host = Host(device, acknowledges=False)
    host.hello(window=3)
    host.start(ms=2)
    times = [device.now]
    for _ in range(20_000 // 2):
        if 1 in heard_seqs(host.listen(2)):
            times.append(device.now)
            host.send(TIME, 1)
    gaps = [after - before for before, after in pairwise(times)]
    assert [round(gap / 100) for gap in gaps[:5]] == [3, 6, 12, 24, 48]
    assert max(gaps) <= 5010
    assert host.status().resent > 0


def test_lost_records_are_sent_again_from_the_first_that_is_missing() -> None:
    device = with_records(6)
    host = Host(device, acknowledges=False)
    host.hello(window=8)
    assert heard_seqs(host.start(ms=100)) == [1, 2, 3, 4, 5, 6, 7]
    host.send(Ack(next_seq=3))
    host.send(Ack(next_seq=3))
    host.send(Ack(next_seq=2))
    host.send(Ack(next_seq=100))
    assert heard_seqs(host.listen(600)) == [3, 4, 5, 6, 7]
    assert host.status().ack_seq == 3


def test_an_ack_that_comes_after_going_back_is_taken() -> None:
    """A host whose disk takes half a second: its ack is for the first sending, and the device has begun the second."""
    device = with_records(20)
    host = Host(device, acknowledges=False)
    host.hello(window=32)
    host.start()
    while not device.device.link.resent:
        host.listen(2)
    host.send(Ack(next_seq=22))
    assert len(heard_seqs(host.listen(50))) <= 1
    assert host.status().ack_seq == 22
    assert heard_seqs(host.listen(3000)) == []


def test_a_start_repeated_for_want_of_an_answer_does_not_make_acks_unbelievable() -> None:
    """The host has had twenty records when its first start comes once more: its ack is beyond all that is sent again."""
    device = with_records(20)
    host = Host(device).join()
    host.listen(200)
    host.acknowledges = False
    assert heard_seqs(host.start(ms=20))
    host.send(Ack(next_seq=22))
    host.listen(50)
    assert host.status().ack_seq == 22
    assert heard_seqs(host.listen(3000)) == []


def test_a_new_hello_makes_acks_for_what_was_sent_before_it_unbelievable_again() -> None:
    device = with_records(20)
    host = Host(device).join()
    host.listen(200)
    host.acknowledges = False
    host.hello(window=4)
    host.start(ms=20)
    host.send(Ack(next_seq=22))
    host.listen(50)
    assert host.status().ack_seq == 1


def test_start_again_goes_back_and_too_far_is_brought_back() -> None:
    device = with_records(5)
    host = Host(device).join()
    host.listen(100)
    assert heard_seqs(host.start(3, ms=100)) == [3, 4, 5, 6]
    host.start(1000)
    assert host.listen(1000) == []
    host.next_seq = 7
    device.press(1)
    assert heard_seqs(host.listen(100)) == [7]


def test_a_host_that_falls_silent_is_given_up_and_presses_go_on() -> None:
    device = bench()
    host = Host(device).join()
    device.run(14_900)
    host.ask(TIME, Status)
    device.run(15_100)
    device.press(0)
    assert device.board.sounds == [SOUND_THANKS]
    assert host.listen(1000) == []
    assert host.ask(StatusRequest(), Error).code is ErrorCode.NO_HELLO
    host.hello()
    assert heard_seqs(host.start(ms=100)) == [1, 2]


def test_a_host_that_does_not_read_costs_no_press_and_no_record() -> None:
    device = bench(change_ms=0, rest_ms=10)
    host = Host(device).join()
    device.board.line_takes = 100
    for _ in range(10):
        device.press(0)
        device.run(400)
    assert device.board.sounds == [SOUND_THANKS] * 10
    assert device.board.from_device[:100] == device.board.from_device
    device.board.from_device.clear()
    device.board.line_takes = 1 << 20
    device.run(1200)
    device.board.from_device.clear()
    again = Host(device).join()
    again.listen(300)
    assert [record.seq for record in again.records] == list(range(1, 12))
    assert host.records == []


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bits_are_dropped_without_a_word(seed: int) -> None:
    device = bench()
    host = Host(device).join()
    random = Random(seed)
    line = bytearray(encode_frame(SignIn(staff="017").frame(5)))
    for _ in range(50):
        damaged = bytearray(line)
        damaged[random.randrange(1, len(line) - 1)] ^= 1 << random.randrange(8)
        device.board.to_device += damaged
    assert host.listen(400) == []
    assert host.status().bad_frames >= 50
    assert host.status().staff == ""


def test_an_oversized_frame_is_dropped_once_and_the_next_is_heard() -> None:
    host = Host(bench()).join()
    host.device.board.to_device += b"\x00" + b"\x41" * 249 + b"\x00"
    assert host.status().bad_frames == 1
    host.device.board.to_device += b"\x00" + b"\x41" * 5000 + b"\x00"
    host.listen(400)
    assert host.status().bad_frames == 2


def test_one_byte_at_a_time_is_as_good_as_all_at_once() -> None:
    device = bench()
    for byte in encode_frame(HELLO.frame(1)):
        device.board.to_device.append(byte)
        device.run(10)
    (answer,) = FrameDecoder().feed(bytes(device.board.from_device))
    assert isinstance(answer, Frame)
    assert isinstance(parse_message(answer), HelloAnswer)


def test_a_code_that_is_no_button_never_becomes_a_level() -> None:
    device = bench()
    host = Host(device).join()
    for mask in (0b100000, 0b1000000, 1 << 12, 0, ~31, 0):
        device.board.down = mask
        device.run(100)
    host.listen(100)
    assert host.records == []
    assert device.board.sounds == []
