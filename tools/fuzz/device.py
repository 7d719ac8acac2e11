"""The device's own end of the line, in process: the real firmware is fed any bytes between presses and power cuts."""

from __future__ import annotations

import struct

from firmware.evaluator import wire
from protocol.errors import FrameError
from protocol.framing import MAX_PAYLOAD_BYTES, Frame, FrameDecoder, encode_frame
from protocol.messages import (
    Ack,
    Hello,
    HelloAnswer,
    Message,
    Open,
    RecordMessage,
    SignIn,
    Start,
    Time,
    TimeSource,
    parse_message,
)
from protocol.record import Kind, Record, parse_record
from protocol.signing import ZERO_MAC, derive_device_key, verify_record
from simulator.device.in_process import BenchDevice
from simulator.world.device import MemoryIdentity
from tools.fuzz.target import Check, Target, golden, must, step, steps

_DEVICE = "PJ-FUZZ"
_KEY = derive_device_key(bytes(range(32)), _DEVICE)
_RAW, _FRAMED, _PRESS, _WAIT, _POWER = range(5)
_STEPS = 60
_LINE_BYTES = 4096
_BUTTON_LEVELS = (5, 4, 3, 2, 1)


def device() -> Check:
    """Any bytes on the line: nothing raises or grows, no record is lost, altered or released, and a valid hello is answered."""

    def check(data: bytes) -> None:
        bench = BenchDevice(MemoryIdentity(_DEVICE, _KEY))
        bench.run(20)
        sizes = _buffers(bench)
        pressed: list[int] = []
        for at, (what, body) in enumerate(steps(data)):
            if at == _STEPS:
                break
            _do(bench, what % 5, body, pressed)
            journal = bench.device.journal
            must(_buffers(bench) == sizes, "a buffer has grown")
            must(journal.receipt_seq <= 1 and journal.oldest_seq <= 1, "records were released without a receipt")
        _settle(bench, pressed)

    return check


def _buffers(bench: BenchDevice) -> list[int]:
    link = bench.device.link
    return [len(one) for one in (link._received, link._chunk, link._body, link._out)]  # what must not grow


def _do(bench: BenchDevice, what: int, body: bytes, pressed: list[int]) -> None:
    if what == _PRESS:
        before = bench.device.journal.next_seq
        button = body[0] % 5 if body else 0
        bench.press(button)
        if bench.device.journal.next_seq > before:
            pressed.append(_BUTTON_LEVELS[button])
    elif what == _WAIT:
        bench.now = (bench.now + 100 * (body[0] if body else 1)) % (1 << 30)
        bench.run(10)
    elif what == _POWER:
        bench.power_on()
        bench.run(10)
    else:
        line = body[:_LINE_BYTES]
        if what == _FRAMED:
            head = body[:3].ljust(3, b"\x00")
            line = encode_frame(Frame(head[0], head[1] | head[2] << 8, body[3 : 3 + MAX_PAYLOAD_BYTES]))
        bench.board.to_device += line
        bench.run(4 + len(line) // 16)
        must(len(bench.board.from_device) <= 300 * (3 + len(line) // 8) + 40 * 300, "more is sent than was asked")
        bench.board.from_device.clear()


def _settle(bench: BenchDevice, pressed: list[int]) -> None:
    """Say a valid hello and read the whole journal: signed, chained, and every press in it."""
    bench.board.to_device.clear()
    bench.board.from_device.clear()
    session = 0x12345678
    hello = Hello(version_min=1, version_max=wire.PROTOCOL_VERSION, schema_hash=0, session=session, window=32)
    decoder = FrameDecoder()
    answer = next((m for m in _say(bench, decoder, hello) if isinstance(m, HelloAnswer) and m.session == session), None)
    must(answer is not None, "a valid hello is not answered")
    found: list[Record] = []
    heard = _say(bench, decoder, Start(next_seq=1))
    previous = ZERO_MAC
    for _ in range(40):
        for message in heard:
            if isinstance(message, RecordMessage):
                record = parse_record(message.record)
                verify_record(_KEY, record, message.record)
                if record.seq == len(found) + 1:
                    must(record.prev_mac == previous, "the chain is broken")
                    previous = record.mac
                    found.append(record)
        if len(found) + 1 >= bench.device.journal.next_seq:
            break
        heard = _say(bench, decoder, Ack(next_seq=len(found) + 1))
    must(len(found) + 1 == bench.device.journal.next_seq, "the device does not send all its records")
    levels = [record.level for record in found if record.kind in (Kind.RATING, Kind.EXTRA)]
    must(levels == pressed, f"pressed {pressed}, recorded {levels}")


def _say(bench: BenchDevice, decoder: FrameDecoder, message: Message) -> list[Message]:
    bench.board.to_device += encode_frame(message.frame(1))
    bench.run(80)
    heard = decoder.feed(bytes(bench.board.from_device))
    bench.board.from_device.clear()
    for frame in heard:
        must(not isinstance(frame, FrameError), f"the device sends a bad frame: {frame}")
    return [parse_message(frame) for frame in heard if isinstance(frame, Frame)]


def _framed(message: Message) -> bytes:
    frame = message.frame(9)
    return step(_FRAMED, struct.pack("<BH", frame.type, 9) + frame.payload)


def _seeds() -> list[bytes]:
    hello = _framed(Hello(version_min=1, version_max=1, schema_hash=0, session=1, window=8)) + _framed(Start(next_seq=0))
    evaluation = Open(evaluation=b"e" * 16, context_digest=b"d" * 16, timeout_ms=5000, language=0)  # type: ignore[arg-type]  # the wire's number
    time = Time(utc_ms=1_780_000_000_000, uncertainty_ms=5, source=TimeSource.SYNCHRONISED)
    press = step(_PRESS, b"\x01")
    ordinary = hello + _framed(time) + _framed(SignIn(staff="017")) + _framed(evaluation) + press + press + step(_WAIT, b"\xff")
    golden_lines = b"".join(step(_RAW, line) for line in golden("messages", "line")[:40])
    return [ordinary, ordinary + step(_POWER) + ordinary, hello + golden_lines, golden_lines + press, hello + press * 8]


TARGETS = (Target("device", "the firmware's end of the line", device, _seeds),)
