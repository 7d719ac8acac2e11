"""The agent's parts on the bench: a device made of frames, and a whole agent in this thread whose turns a test takes.

Virtual time where a part takes it; the whole agent reads real clocks, so that its tests wait for conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from host_agent.instant import Instant
from host_agent.link.conversation import Conversation
from host_agent.link.events import Answered, Event, Identified
from host_agent.store.database import Writer
from host_agent.store.upkeep import DELETE_AT_ONCE, WALK_EVERY_S, Upkeep
from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import (
    Capability,
    Condition,
    Done,
    Error,
    ErrorCode,
    Hello,
    HelloAnswer,
    Message,
    RecordMessage,
    SessionState,
    Start,
    Status,
    parse_message,
)
from protocol.record import Record
from tests.chains import EPOCH_MS

T = TypeVar("T")
SESSION = 0x1234
DEVICE = "PJ-0001"


def at(mono_s: float, utc_ms: int = EPOCH_MS) -> Instant:
    return Instant(mono_s, utc_ms + int(mono_s * 1000))


def hello_answer(**more: object) -> HelloAnswer:
    usual = HelloAnswer(
        version=1,
        version_min=1,
        version_max=1,
        schema_hash=0,
        session=SESSION,
        device=DEVICE,
        firmware="1.0.0",
        boot=3,
        uptime_ms=5000,
        oldest_seq=1,
        next_seq=1,
        receipt_seq=1,
        capacity=100,
        capabilities=Capability(0),
    )
    return replace(usual, **more)  # type: ignore[arg-type]  # fields by name


def status(**more: object) -> Status:
    usual = Status(
        uptime_ms=1,
        utc_ms=0,
        uncertainty_ms=0,
        oldest_seq=1,
        next_seq=1,
        ack_seq=1,
        receipt_seq=1,
        free=90,
        state=SessionState.IDLE,
        conditions=Condition(0),
        evaluation=bytes(16),
        staff="",
        stuck_keys=0,
        bad_frames=0,
        resent=0,
    )
    return replace(usual, **more)  # type: ignore[arg-type]  # fields by name


@dataclass
class PaperLine:
    """The other end of a conversation: what was sent is read as messages, answers are given by hand."""

    conversation: Conversation
    sent: list[tuple[Frame, Message]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decoder = FrameDecoder()

    def read(self) -> list[Message]:
        """Return the messages sent since the last time."""
        new: list[tuple[Frame, Message]] = []
        for frame in self._decoder.feed(self.conversation.take_output()):
            assert isinstance(frame, Frame), frame
            new.append((frame, parse_message(frame)))
        self.sent += new
        return [message for _, message in new]

    def last(self, kind: type[Message]) -> int:
        """Return the correlation of the last message of a kind."""
        self.read()
        return next(frame.correlation for frame, message in reversed(self.sent) if isinstance(message, kind))

    def say(self, message: Message, correlation: int = 0, now: Instant = at(0)) -> list[Event]:  # noqa: B008  # immutable
        return self.say_bytes(encode_frame(message.frame(correlation)), now)

    def say_bytes(self, data: bytes, now: Instant = at(0)) -> list[Event]:  # noqa: B008  # immutable
        events = self.conversation.receive(data, now)
        self.events += events
        return events

    def record(self, record: Record, now: Instant = at(0)) -> list[Event]:  # noqa: B008  # immutable
        return self.say(RecordMessage(record=record.pack()), 0, now)

    def answer_hello(self, now: Instant = at(0), **more: object) -> list[Event]:  # noqa: B008  # immutable
        return self.say(hello_answer(**more), self.last(Hello), now)

    def join(self, next_seq: int = 1, now: Instant = at(0), **more: object) -> PaperLine:  # noqa: B008  # immutable
        """Hello answered, Start done."""
        (identified,) = self.answer_hello(now, **more)
        assert isinstance(identified, Identified)
        self.conversation.start(next_seq, now)
        assert self.say(Done(), self.last(Start), now) == []
        self.read()
        return self


def paper_line(now: Instant = at(0)) -> PaperLine:  # noqa: B008  # immutable
    return PaperLine(Conversation(SESSION, now))


def done(correlation: int) -> Answered:
    return Answered(correlation, None)


def refused(correlation: int, code: ErrorCode) -> Answered:
    return Answered(correlation, code)


def error(code: ErrorCode, detail: int = 0) -> Error:
    return Error(code=code, about=0, detail=detail)


def only(events: Sequence[Event], kind: type[T]) -> T:
    (event,) = events
    assert isinstance(event, kind), event
    return event


Post = Callable[[Callable[[Instant], None]], None]


def delete_delivered(writer: Writer, before_ms: int, most_bytes: int = 1 << 40, free_bytes: int = 1 << 40) -> int:
    """Let the upkeep do all that is due at one moment, as it does in some seconds; return how many records were deleted."""
    upkeep = Upkeep(writer, 0, most_bytes, lambda: free_bytes)
    deleted = 0
    for second in range(int(WALK_EVERY_S)):
        found = upkeep.step(Instant(float(second), before_ms))
        assert found <= DELETE_AT_ONCE
        deleted += found
        if upkeep.is_idle:
            return deleted
    raise AssertionError("it does not come to an end")
