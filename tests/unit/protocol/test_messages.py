"""Messages: layouts, reasons for refusal, and the rules that definitions must keep."""

import pytest

from protocol.errors import MessageError
from protocol.framing import MAX_PAYLOAD_BYTES, Frame
from protocol.messages import (
    BY_CODE,
    ERROR_MEANING,
    Capability,
    Direction,
    Error,
    ErrorCode,
    Hello,
    HelloAnswer,
    Language,
    Log,
    Message,
    Open,
    SignIn,
    SignOut,
    Time,
    TimeSource,
    parse_message,
)
from protocol.record import FLAG_MEANING, KIND_MEANING, Kind, RecordFlag

HELLO = Hello(version_min=1, version_max=2, schema_hash=0xDEADBEEF, session=7, window=8)
ANSWER = HelloAnswer(
    version=1,
    version_min=1,
    version_max=1,
    schema_hash=1,
    session=2,
    device="PJQ-0001",
    firmware="1.0.0",
    boot=3,
    uptime_ms=4,
    oldest_seq=5,
    next_seq=6,
    receipt_seq=5,
    capacity=1000,
    capabilities=Capability.VOICE,
)


def reason_of(code: int, payload: bytes) -> str:
    with pytest.raises(MessageError) as caught:
        parse_message(Frame(code, 0, payload))
    return caught.value.reason


def test_bytes_stand_where_the_layout_says() -> None:
    assert HELLO.pack().hex() == "0102efbeadde0700000008"
    assert ANSWER.pack()[11:27] == b"PJQ-0001" + bytes(8)


def test_a_message_comes_back_with_its_types() -> None:
    sent = Time(utc_ms=1 << 40, uncertainty_ms=3, source=TimeSource.SYNCHRONISED)
    frame = sent.frame(9)
    assert (frame.type, frame.correlation) == (0x12, 9)
    got = parse_message(frame)
    assert got == sent
    assert isinstance(got, Time)
    assert got.source is TimeSource.SYNCHRONISED


def test_a_newer_peer_may_append_to_an_extensible_message() -> None:
    for message in (HELLO, ANSWER, Error(code=ErrorCode.VALUE, about=1, detail=2)):
        assert message.EXTENSIBLE
        assert parse_message(Frame(message.CODE, 0, message.pack() + b"later")) == message


def test_an_unknown_type_is_named() -> None:
    assert reason_of(0x7F, b"") == "type"


@pytest.mark.parametrize("payload", [b"", bytes(12), bytes(14)])
def test_a_wrong_length_is_named(payload: bytes) -> None:
    assert reason_of(Time.CODE, payload) == "length"


def test_a_message_without_fields_takes_no_bytes() -> None:
    assert parse_message(Frame(SignOut.CODE, 0, b"")) == SignOut()
    assert reason_of(SignOut.CODE, b"\x00") == "length"


def test_a_value_outside_its_list_is_named() -> None:
    good = Open(evaluation=b"e" * 16, context_digest=b"d" * 16, timeout_ms=60_000, language=Language.DAI).pack()
    assert reason_of(Open.CODE, good[:-1] + b"\x09") == "value"


@pytest.mark.parametrize("staff", [b"a\x00b", b"\xff", b"\xc0\xaf"])
def test_text_that_is_no_text_is_a_bad_value(staff: bytes) -> None:
    assert reason_of(SignIn.CODE, staff.ljust(16, b"\x00")) == "value"


def test_text_may_fill_its_field() -> None:
    assert SignIn.unpack(SignIn(staff="x" * 16).pack()).staff == "x" * 16
    assert SignIn.unpack(SignIn(staff="工号一二三").pack()).staff == "工号一二三"


@pytest.mark.parametrize("staff", ["x" * 17, "工号一二三四", "a\x00b"])
def test_text_that_does_not_fit_is_not_sent(staff: str) -> None:
    with pytest.raises(ValueError, match="SignIn"):
        SignIn(staff=staff).pack()


@pytest.mark.parametrize("window", [-1, 256])
def test_a_number_that_does_not_fit_is_not_sent(window: int) -> None:
    with pytest.raises(ValueError, match="Hello"):
        Hello(version_min=1, version_max=1, schema_hash=0, session=0, window=window).pack()


def test_unknown_bits_of_flags_are_kept() -> None:
    later = ANSWER.pack()[:-4] + (0x80000001).to_bytes(4, "little")
    got = HelloAnswer.unpack(later)
    assert got.capabilities & Capability.VOICE
    assert int(got.capabilities) == 0x80000001


def test_a_log_takes_any_bytes_as_its_sentence() -> None:
    log = parse_message(Frame(Log.CODE, 0, bytes(8) + b"\x02sector 3 \xff"))
    assert isinstance(log, Log)
    assert log.text == "sector 3 \ufffd"
    assert reason_of(Log.CODE, bytes(8)) == "length"


@pytest.mark.parametrize("message", BY_CODE.values(), ids=lambda message: str(message.__name__))
def test_definitions_keep_their_rules(message: type[Message]) -> None:
    assert (message.CODE < 0x40) == (message.DIRECTION is Direction.TO_DEVICE)
    assert message.SIZE_BYTES is None or message.SIZE_BYTES <= MAX_PAYLOAD_BYTES
    assert (message.__doc__ or "").strip()
    assert not message.ANSWER or message.ANSWER in {other.__name__ for other in BY_CODE.values()}
    assert all(subcon.docs for subcon in message.STRUCT.subcons)
    assert message.DIRECTION is Direction.TO_DEVICE or not message.ERRORS


def test_every_member_has_its_meaning() -> None:
    assert set(ERROR_MEANING) == set(ErrorCode)
    assert set(KIND_MEANING) == set(Kind)
    assert set(FLAG_MEANING) == set(RecordFlag)


def test_a_taken_code_cannot_be_given_again() -> None:
    from protocol import messages

    with pytest.raises(AssertionError, match="0x10 is taken by Hello"):
        messages._message(Hello.CODE, Direction.TO_DEVICE)(Hello)


def test_a_reason_that_does_not_exist_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="99"):
        Error(code=99, about=0, detail=0).pack()  # type: ignore[arg-type]  # the wrong type is the point
