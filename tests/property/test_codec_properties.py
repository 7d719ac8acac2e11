"""The host's codec (construct) and the device's (generated) are one: same bytes, same values, same refusals."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.evaluator import wire
from protocol.errors import MessageError, RecordError
from protocol.fields import Layout
from protocol.framing import Frame
from protocol.generate import schema
from protocol.messages import Message, parse_message
from protocol.record import RECORD_BYTES, SIGNED_BYTES, Record, parse_record

TO_DEVICE = [m for m in schema.messages() if schema.is_to_device(m)]
FROM_DEVICE = [m for m in schema.messages() if not schema.is_to_device(m) and schema.fields_of(m)]
BUFFER_BYTES = 300


def by_name(message: type[Message]) -> str:
    return message.__name__


def short_text(size: int) -> st.SearchStrategy[str]:
    letters = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=size)
    return letters.map(lambda text: text.encode()[:size].decode(errors="ignore"))


def values_of(layout: type[Layout]) -> st.SearchStrategy[dict[str, Any]]:
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for field in schema.fields_of(layout):
        size = 120 if field.size is None else field.size
        if field.members is not None and not field.is_flags:
            drawn[field.name] = st.sampled_from(list(field.members))
        elif field.is_text:
            drawn[field.name] = short_text(size)
        elif field.is_bytes:
            drawn[field.name] = st.binary(min_size=size, max_size=size)
        else:
            drawn[field.name] = st.integers(0, (1 << 8 * size) - 1)
            if field.members is not None:
                drawn[field.name] = drawn[field.name].map(field.members)
    return st.fixed_dictionaries(drawn)


def as_device(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else int(value)


def on_device(made: Layout) -> tuple[Any, ...]:
    """Return the values of a message as the firmware holds them, in wire order."""
    return tuple(as_device(getattr(made, field.name)) for field in schema.fields_of(type(made)))


def read_on_device(message: type[Message], payload: bytes | memoryview) -> tuple[Any, ...]:
    """Return what the firmware reads from a payload."""
    if not schema.fields_of(message):
        wire.check_empty(payload)
        return ()
    return tuple(getattr(wire, f"unpack_{schema.snake(message.__name__)}")(payload))


@pytest.mark.parametrize("message", TO_DEVICE, ids=by_name)
@given(data=st.data())
def test_the_device_reads_what_the_host_writes(message: type[Message], data: st.DataObject) -> None:
    sent = message(**data.draw(values_of(message)))
    payload = sent.pack()
    assert read_on_device(message, payload) == on_device(sent)
    assert read_on_device(message, memoryview(b"head" + payload + b"tail")[4 : 4 + len(payload)]) == on_device(sent)


@pytest.mark.parametrize("message", FROM_DEVICE, ids=by_name)
@given(data=st.data())
def test_the_host_reads_what_the_device_writes(message: type[Message], data: st.DataObject) -> None:
    sent = message(**data.draw(values_of(message)))
    at = data.draw(st.integers(0, 10))
    buffer = bytearray(b"\xa5" * BUFFER_BYTES)
    target = memoryview(buffer) if data.draw(st.booleans()) else buffer
    end = getattr(wire, f"pack_{schema.snake(message.__name__)}")(target, at, *on_device(sent))
    assert buffer[at:end] == sent.pack()
    assert set(buffer[:at] + buffer[end:]) == {0xA5}
    assert len(buffer) == BUFFER_BYTES
    assert message.unpack(bytes(buffer[at:end])) == sent


@pytest.mark.parametrize("message", TO_DEVICE, ids=by_name)
@given(data=st.data())
def test_device_and_host_refuse_the_same_payloads_for_the_same_reason(message: type[Message], data: st.DataObject) -> None:
    size = message.SIZE_BYTES or 0
    payload = data.draw(st.one_of(st.binary(min_size=size, max_size=size), st.binary(max_size=size + 3)))
    try:
        host: object = on_device(parse_message(Frame(message.CODE, 0, payload)))
    except MessageError as error:
        host = error.reason
    try:
        device: object = read_on_device(message, payload)
    except wire.WireError as error:
        device = {wire.ERROR_LENGTH: "length", wire.ERROR_VALUE: "value"}[error.code]
    assert device == host


@given(st.one_of(st.binary(max_size=16), st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_the_device_knows_utf8_as_strictly_as_the_host(text: bytes) -> None:
    try:
        text.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert wire._is_utf8(text) == valid


@given(values_of(Record))
def test_a_record_is_the_same_bytes_on_both_sides(values: dict[str, Any]) -> None:
    record = Record(**values)
    raw = record.pack()
    buffer = bytearray(RECORD_BYTES)
    assert wire.pack_record(buffer, 0, *on_device(record)[:-2]) == SIGNED_BYTES
    assert buffer[:SIGNED_BYTES] == raw[:SIGNED_BYTES]
    for field in schema.fields_of(Record):
        assert getattr(wire, f"RECORD_AT_{field.name.upper()}") == field.offset


@given(st.one_of(st.binary(max_size=140), st.binary(min_size=128, max_size=128)))
def test_any_bytes_are_a_record_or_an_error(raw: bytes) -> None:
    with pytest.raises(RecordError):  # a CRC-32 and a format byte do not come about by chance
        parse_record(raw)


@given(st.integers(0, 255), st.binary(max_size=240))
def test_any_payload_is_a_message_or_an_error(code: int, payload: bytes) -> None:
    reason = "none"
    try:
        parse_message(Frame(code, 0, payload))
    except MessageError as error:
        reason = error.reason
    assert reason in ("none", "type", "length", "value")


def test_a_writer_does_not_let_a_buffer_grow() -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.pack_log(bytearray(20), 0, 1, 3, b"x" * 12)
    assert caught.value.code == wire.ERROR_LENGTH
    with pytest.raises(wire.WireError) as caught:
        wire.pack_record_message(bytearray(127), 0, bytes(128))
    assert caught.value.code == wire.ERROR_LENGTH


def test_a_record_message_takes_a_whole_record_only() -> None:
    with pytest.raises(wire.WireError):
        wire.pack_record_message(bytearray(200), 0, bytes(127))
