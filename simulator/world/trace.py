"""What happened in a world, line by line, for a person to read: when, who, what; frames decoded.

Kept only when somebody wants to read it; otherwise a note costs one look at `on`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from protocol.errors import FrameError, ProtocolError
from protocol.framing import Frame, FrameDecoder
from protocol.levels import Level
from protocol.messages import RecordMessage, parse_message
from protocol.record import Kind, parse_record

_SHOWN_BYTES = 8
_TOLD = ("device", "next_seq", "online", "since_ms", "outbox_to_send", "outbox_sent")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: seconds since the beginning of the world, who, what."""

    at_s: float
    who: str
    what: str

    def __str__(self) -> str:
        minutes, seconds = divmod(self.at_s, 60)
        return f"{int(minutes):4d}:{seconds:07.4f}  {self.who:<12} {self.what}"


class Trace:
    """Collects entries while `on`."""

    def __init__(self, now_s: Callable[[], float], *, on: bool) -> None:
        self._now_s = now_s
        self.on = on
        self.entries: list[Entry] = []

    def note(self, who: str, what: str) -> None:
        """Write a line down."""
        if self.on:
            self.entries.append(Entry(self._now_s(), who, what))


class FrameWatch:
    """Writes down the frames in a stream of bytes; one for each direction of a line."""

    def __init__(self, trace: Trace, who: str) -> None:
        self._trace = trace
        self._who = who
        self._decoder = FrameDecoder()

    def feed(self, data: bytes) -> None:
        """Take bytes as they were sent."""
        if self._trace.on:
            for item in self._decoder.feed(data):
                self._trace.note(self._who, f"frame damaged: {item.reason}" if isinstance(item, FrameError) else words(item))


def words(frame: Frame) -> str:
    """Return a frame in words."""
    try:
        message = parse_message(frame)
        if isinstance(message, RecordMessage):
            return record_words(message.record)
    except ProtocolError as error:
        return f"frame of no message: {error}"
    fields = ", ".join(f"{name}={_value(value)}" for name, value in vars(message).items())
    return f"{type(message).__name__}({fields})" + (f" #{frame.correlation}" if frame.correlation else "")


def message_words(topic: str, payload: bytes) -> str:
    """Return an MQTT message in words: what it is about."""
    try:
        fields = json.loads(payload)
        about = fields.get("id") or {name: value for name, value in fields.items() if name in _TOLD}
    except (ValueError, AttributeError):
        about = payload[:_SHOWN_BYTES].hex()
    return f"{topic.rsplit('/', 1)[-1]} {about}"


def record_words(raw: bytes) -> str:
    """Return a record in words; ProtocolError when it is none."""
    record = parse_record(raw)
    level = f" {Level(record.level).word}" if record.kind in (Kind.RATING, Kind.EXTRA) else ""
    about = f" refers to {record.refers_to}+{record.value}" if record.kind is Kind.LOST else ""
    evaluation = f" for {record.evaluation.hex()[:8]}" if any(record.evaluation) else ""
    return f"record {record.seq} {record.kind.name.lower()}{level}{about}{evaluation} mac {record.mac.hex()[:8]}"


def _value(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()[: 2 * _SHOWN_BYTES]
    return str(value)
