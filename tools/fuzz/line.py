"""The serial line, as the host reads it: frames, messages, and a whole conversation."""

from __future__ import annotations

import zlib
from typing import Any

from firmware.evaluator import fast, wire
from host_agent.instant import Instant
from host_agent.link.conversation import Conversation, LinkState
from host_agent.link.events import Identified, Received
from protocol import framing
from protocol.errors import FrameError, MessageError
from protocol.framing import (
    MAX_BODY_BYTES,
    MAX_ENCODED_BYTES,
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameDecoder,
    encode_frame,
    stuff,
)
from protocol.generate import schema
from protocol.messages import HelloAnswer, Message, RecordMessage, parse_message
from tools.fuzz.target import Check, Target, golden, must, step, steps, vectors

_MOST_OUTPUT_PER_FRAME = 3 * (MAX_ENCODED_BYTES + 2)


def frames() -> Check:
    """Any bytes, however split: the same frames and errors, bounded memory, both decoders agree, and the next frame is found."""

    def check(data: bytes) -> None:
        whole, pieces = FrameDecoder(), FrameDecoder()
        found = whole.feed(data)
        size = data[0] % 7 + 1 if data else 1
        split: list[Frame | FrameError] = []
        for at in range(0, len(data), size):
            split += pieces.feed(data[at : at + size])
            must(pieces.held_bytes <= MAX_ENCODED_BYTES, "the decoder holds more than a frame")
        must(_told(found) == _told(split), "another split of the stream gives other frames")
        for frame in found:
            if isinstance(frame, Frame):
                must(len(frame.payload) <= MAX_PAYLOAD_BYTES, "a payload longer than the contract allows")
                must(FrameDecoder().feed(encode_frame(frame)) == [frame], "a frame does not survive being sent on")
        good = Frame(0x13, 7, b"")
        must(whole.feed(encode_frame(good))[-1:] == [good], "the frame after the noise is lost")
        for piece in data.split(b"\x00")[:20]:
            _both_decoders(piece)

    return check


def _both_decoders(piece: bytes) -> None:
    """The host's unstuffing and the device's take the same bytes for the same body."""
    if len(piece) > MAX_ENCODED_BYTES:
        return
    try:
        host: bytes | None = framing.unstuff(piece)
    except FrameError:
        host = None
    buffer = bytearray(piece)
    length = fast.unstuff(buffer, len(piece))
    must((None if length < 0 else bytes(buffer[:length])) == host, "device and host unstuff differently")
    if host is not None and len(host) <= MAX_BODY_BYTES:
        must(stuff(host) == piece, "two encodings of one body")


def _told(found: list[Frame | FrameError]) -> list[Frame | str]:
    return [item.reason if isinstance(item, FrameError) else item for item in found]


def messages() -> Check:
    """Any type and payload: a message that packs to the same bytes, or an error by name; the device reads the same."""
    to_device = {message.CODE: message for message in schema.messages() if schema.is_to_device(message)}

    def check(data: bytes) -> None:
        code, payload = data[:1] or b"\x00", data[1:]
        try:
            message = parse_message(Frame(code[0], 0, payload))
        except MessageError as error:
            must(error.reason in ("type", "length", "value"), f"an error of no known reason: {error.reason}")
            host: object = error.reason
        else:
            again = message.pack()
            must(parse_message(Frame(code[0], 0, again)) == message, "a message does not survive being sent on")
            host = tuple(_plain(getattr(message, field.name)) for field in schema.fields_of(type(message)))
        if code[0] in to_device:
            must(_on_device(to_device[code[0]], payload) == host, "device and host read a payload differently")

    return check


def _plain(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else int(value)


def _on_device(message: type[Message], payload: bytes) -> object:
    try:
        if not schema.fields_of(message):
            wire.check_empty(payload)
            return ()
        return tuple(getattr(wire, f"unpack_{schema.snake(message.__name__)}")(payload))
    except wire.WireError as error:
        return {wire.ERROR_LENGTH: "length", wire.ERROR_VALUE: "value"}.get(error.code, error.code)


def conversation() -> Check:
    """A device that says anything: the agent's side raises nothing, answers in bounds, and takes records in their order."""

    def check(data: bytes) -> None:
        now_s, expected = 0.0, 0
        talk = Conversation(1, Instant(0.0, 0))
        (hello,) = FrameDecoder().feed(talk.take_output())
        must(isinstance(hello, Frame), "the hello is no frame")
        for what, body in steps(data):
            now_s += (what >> 4) * 0.5
            now = Instant(now_s, int(now_s * 1000))
            line = body if what & 1 else _framed(body, hello.correlation if isinstance(hello, Frame) else 0)
            events = talk.tick(now) + talk.receive(line, now)
            for event in events:
                if isinstance(event, Identified):
                    expected = talk.start(0, now)
                elif isinstance(event, Received):
                    must(talk.state is LinkState.TALKING, "a record outside a conversation")
                    must(event.record.seq >= expected, "a record that was there already")
                    expected = event.record.seq + 1
            must(len(talk.take_output()) <= _MOST_OUTPUT_PER_FRAME * (2 + line.count(b"\x00")), "more is sent than was asked")
            must(len(talk.counters.damaged) <= 20, "reasons of damage are not a closed set")

    return check


def _framed(body: bytes, hello: int) -> bytes:
    """Make a frame of type, correlation (0xFFFF: the hello's) and payload, with a CRC that fits."""
    head = body[:3].ljust(3, b"\x00")
    correlation = int.from_bytes(head[1:], "little")
    frame = Frame(head[0], hello if correlation == 0xFFFF else correlation, body[3 : 3 + MAX_PAYLOAD_BYTES])
    return encode_frame(frame)


def _frame_seeds() -> list[bytes]:
    raw = b"\x41" * 10
    body = raw + zlib.crc32(raw).to_bytes(4, "little")
    return [
        *golden("frames", "line"),
        *golden("messages", "line"),
        *golden("bad_frames", "encoded"),
        b"\x00" + stuff(body) + b"\x00",
    ]


def _message_seeds() -> list[bytes]:
    groups = ("messages", "extended_messages", "bad_messages")
    return [bytes([vector["type"]]) + bytes.fromhex(vector["payload"]) for group in groups for vector in vectors()[group]]


def _conversation_seeds() -> list[bytes]:
    lines = golden("messages", "line")
    hello = next(seed for seed in _message_seeds() if seed[0] == HelloAnswer.CODE)
    session = hello[:8] + (1).to_bytes(4, "little") + hello[12:]
    answer = step(0, session[:1] + b"\xff\xff" + session[1:])
    records = b"".join(step(0, bytes([RecordMessage.CODE, 0, 0]) + raw) for raw in golden("records", "record"))
    return [answer + records, answer + b"".join(step(0x11, line) for line in lines), answer + step(0xF1) + answer]


TARGETS = (
    Target("frames", "the frame decoder", frames, _frame_seeds),
    Target("messages", "the message parsers of host and device", messages, _message_seeds),
    Target("conversation", "the agent's end of the line", conversation, _conversation_seeds),
)
