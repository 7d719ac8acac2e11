"""One conversation with whatever is at the other end of a port: bytes and time in, events and bytes out.

Hello until answered, then start, then records in order with cumulative acks, a heartbeat that carries the time, requests that are
repeated until answered. No thread, no port, no clock, no database: the caller acknowledges a record when it is durable.
A conversation lives as long as its port is open; after a silence it says hello again by itself.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from host_agent.instant import Instant
from host_agent.link.events import Alarmed, Answered, Event, Identified, Received, Refused, Reported, Said, Silent, Skipped
from host_agent.link.trace import Trace
from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION
from protocol.errors import FrameError, MessageError, RecordError
from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.generate.schema import schema_hash
from protocol.messages import (
    Ack,
    Cancel,
    Done,
    Error,
    ErrorCode,
    Hello,
    HelloAnswer,
    Log,
    Message,
    Open,
    Pause,
    RecordMessage,
    Resume,
    SignIn,
    SignOut,
    Start,
    Status,
    StatusRequest,
    Time,
    TimeSource,
    Unreadable,
    parse_message,
)
from protocol.quick_record import quick_parse

HELLO_FIRST_S = 0.4
HELLO_MOST_S = 5.0
HEARTBEAT_S = 2.0
SILENT_S = 6.5
REQUEST_RETRY_S = 1.0
REQUEST_TRIES = 4
WINDOW = 16
CLOCK_UNCERTAINTY_MS = 1000
ORDERED = (Open, Cancel, SignIn, SignOut, Pause, Resume)
"""Requests of which each may undo the one before it: one at a time, or a repeated one would come after its successor."""
MOST_SEQ = 0xFFFFFFFF
_DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")


class LinkState(Enum):
    """Where a conversation stands; shown to people by these names."""

    ASKING = "asking"
    """Hello was sent, nobody has answered yet."""
    SILENT = "silent"
    """A device that has answered before does not any more; hello is being said to it."""
    REFUSED = "refused"
    """The device answered, but no protocol version is common."""
    IDENTIFIED = "identified"
    """The device has said who it is; the caller must now say from which record on it wants to hear."""
    TALKING = "talking"
    """Records flow."""


CALLING = (LinkState.ASKING, LinkState.SILENT)
"""Hello is being said; only its answer is taken."""


@dataclass(slots=True)
class _Pending:
    message: Message
    due_s: float
    tries: int = 1


@dataclass(slots=True)
class Counters:
    """What the line has been like, by name; `damaged` by reason of the damage."""

    damaged: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    repeated: int = 0
    out_of_turn: int = 0
    silences: int = 0

    def damage(self, reason: str) -> None:
        """Count one more of a kind."""
        self.damaged[reason] = self.damaged.get(reason, 0) + 1


class Conversation:
    """Feed it with `receive` and `tick`, send what `take_output` returns."""

    def __init__(self, session: int, now: Instant, source: TimeSource = TimeSource.UNKNOWN, trace: Trace | None = None) -> None:
        self._trace = trace or Trace()
        self.state = LinkState.ASKING
        self.counters = Counters()
        self.answer: HelloAnswer | None = None
        self._session = session
        self._source = source
        self._decoder = FrameDecoder()
        self._output = bytearray()
        self._correlation = 0
        self._pending: dict[int, _Pending] = {}
        self._queued: deque[tuple[int, Message]] = deque()
        """Requests that wait until the one before them is answered."""
        self._expected_seq = 0
        self._durable_seq = 0
        self._heard_s = self._now_s = now.mono_s
        self._heartbeat_s = now.mono_s
        self._hello_wait_s = HELLO_FIRST_S
        self._hello_due_s = now.mono_s
        self._hello_correlation = 0
        self._hello_s = now.mono_s
        self._beat_sent: tuple[int, float] = (0, 0.0)
        self._say_hello(now)

    # --- the caller's side -----------------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """Return the bytes to send, once. What was heard has been acted on by now: the next request may go."""
        if self._queued and not self._has_ordered_pending():
            self._ask(*self._queued.popleft(), self._now_s)
        out = bytes(self._output)
        self._output.clear()
        return out

    def deadline_s(self) -> float:
        """Return the monotonic time by which `tick` must be called."""
        if self.state in (*CALLING, LinkState.REFUSED):
            return self._hello_due_s
        waiting = [pending.due_s for pending in self._pending.values()]
        if self.state is LinkState.TALKING:
            waiting.append(self._heartbeat_s)
        return min([self._heard_s + SILENT_S, *waiting])

    def start(self, next_seq: int, now: Instant) -> int:
        """Ask for the records from `next_seq` on; return the first that will come, for some may be recycled."""
        assert self.answer is not None, "start comes after Identified"  # noqa: S101  # a programming error, not input
        self._expected_seq = self._durable_seq = max(next_seq, self.answer.oldest_seq)
        self.state = LinkState.TALKING
        self._pending = {number: one for number, one in self._pending.items() if not isinstance(one.message, Start)}
        self.request(Start(next_seq=self._expected_seq), now)
        self._beat(now)
        return self._expected_seq

    def acknowledge(self, next_seq: int) -> None:
        """Tell the device that every record before `next_seq` is durable here."""
        self._durable_seq = next_seq
        self._send(Ack(next_seq=next_seq))

    def request(self, message: Message, now: Instant) -> int:
        """Send a request and repeat it until answered; the answer comes as Answered with the number returned here."""
        correlation = self._next_correlation()
        if isinstance(message, ORDERED) and self._has_ordered_pending():
            self._queued.append((correlation, message))
        else:
            self._ask(correlation, message, now.mono_s)
        return correlation

    def withdraw(self, correlation: int) -> None:
        """Forget a request that still waits for the one before it; one that was sent is beyond recall."""
        self._queued = deque(one for one in self._queued if one[0] != correlation)

    def tick(self, now: Instant) -> list[Event]:
        """Do what is due."""
        self._now_s = now.mono_s
        if self.state in (*CALLING, LinkState.REFUSED):
            if now.mono_s >= self._hello_due_s:
                self._say_hello(now)
            return []
        if now.mono_s >= self._heard_s + SILENT_S:
            return [self._begin_again(now)]
        if now.mono_s >= self._heartbeat_s and self.state is LinkState.TALKING:
            self._beat(now)
        return self._repeat_requests(now)

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take bytes from the line; return what they mean."""
        self._now_s = now.mono_s
        events: list[Event] = []
        for item in self._decoder.feed(data):
            if isinstance(item, FrameError):
                self.counters.damage(item.reason)
                self._trace.damaged(item.reason)
                continue
            try:
                message = parse_message(item)
            except MessageError as error:
                if error.reason == "type":
                    self.counters.unknown += 1
                else:
                    self.counters.damage(f"message {error.reason}")
                self._trace.damaged(f"message {error.reason}")
                continue
            if self._trace.is_on:
                self._trace.heard(message, item.correlation)
            if self.state in CALLING and not isinstance(message, HelloAnswer | Error):
                continue  # left over from an earlier conversation
            self._heard_s = now.mono_s
            self._take(item, message, now, events)
        return events

    # --- inside ----------------------------------------------------------------------------------------------

    def _ask(self, correlation: int, message: Message, now_s: float) -> None:
        self._pending[correlation] = _Pending(message, now_s + REQUEST_RETRY_S)
        self._send(message, correlation)

    def _has_ordered_pending(self) -> bool:
        return any(isinstance(pending.message, ORDERED) for pending in self._pending.values())

    def _take(self, frame: Frame, message: Message, now: Instant, events: list[Event]) -> None:
        if isinstance(message, HelloAnswer):
            self._identified(frame, message, now, events)
        elif isinstance(message, RecordMessage):
            self._record(message.record, events)
        elif isinstance(message, Unreadable):
            self._skip(message, events)
        elif isinstance(message, Status):
            self._status(frame, message, events)
        elif isinstance(message, Done):
            self._answered(frame.correlation, None, events)
        elif isinstance(message, Error):
            self._error(frame, message, now, events)
        elif isinstance(message, Log):
            events.append(Said(message))
        else:
            self.counters.unknown += 1  # a message of ours come back: a loop in the wiring

    def _identified(self, frame: Frame, answer: HelloAnswer, now: Instant, events: list[Event]) -> None:
        if self.state not in CALLING or answer.session != self._session:
            return  # the answer to a hello of an earlier conversation
        if frame.correlation != self._hello_correlation:
            return
        if not _DEVICE_ID.fullmatch(answer.device):
            self.counters.damage("device id")  # nothing that bears it could be published
            return
        if not OLDEST_PROTOCOL_VERSION <= answer.version <= PROTOCOL_VERSION:
            self._refused(answer.version_min, answer.version_max, now, events)
            return
        self.answer = answer
        self.state = LinkState.IDENTIFIED
        self._hello_wait_s = HELLO_FIRST_S
        events.append(Identified(answer, self._hello_s))

    def _record(self, raw: bytes, events: list[Event]) -> None:
        if self.state is not LinkState.TALKING:
            return
        try:
            record = quick_parse(raw)
            if record.seq == MOST_SEQ:
                raise RecordError("value", "no record can come after this one, so it cannot be acknowledged")
        except RecordError as error:
            # the frame's CRC was right: the device sent this on purpose. Not acknowledged, so it stays where it is
            self.counters.damage(f"record {error.reason}")
            return
        if record.seq < self._expected_seq:
            self.counters.repeated += 1
            self._send(Ack(next_seq=self._durable_seq))  # the last ack may have been lost
        elif record.seq > self._expected_seq:
            self.counters.out_of_turn += 1  # one before it was lost; the device will go back
        else:
            self._expected_seq += 1
            events.append(Received(record, raw))

    def _skip(self, message: Unreadable, events: list[Event]) -> None:
        if self.state is not LinkState.TALKING:
            return
        next_seq = message.first_seq + message.count
        if message.first_seq > self._expected_seq:
            self.counters.out_of_turn += 1
        elif next_seq <= self._expected_seq:
            self.counters.repeated += 1
            self._send(Ack(next_seq=self._durable_seq))
        elif next_seq > MOST_SEQ:
            self.counters.damage("skip value")
        else:
            self._pass_over(next_seq, events, was_released=False)

    def _status(self, frame: Frame, status: Status, events: list[Event]) -> None:
        pending = self._pending.get(frame.correlation)
        if pending is not None and isinstance(pending.message, StatusRequest):
            del self._pending[frame.correlation]  # its answer, as Done is of the others
        if self.state is LinkState.TALKING and status.oldest_seq > self._expected_seq:
            # recycled between its hello and now: it would go on with a record that is never in its turn
            self._pass_over(status.oldest_seq, events, was_released=True)
        correlation, sent_s = self._beat_sent
        events.append(Reported(status, sent_s if frame.correlation == correlation else None))

    def _pass_over(self, next_seq: int, events: list[Event], *, was_released: bool) -> None:
        first_seq, self._expected_seq = self._expected_seq, next_seq
        events.append(Skipped(first_seq, next_seq - first_seq, was_released))

    def _answered(self, correlation: int, error: ErrorCode | None, events: list[Event]) -> None:
        pending = self._pending.get(correlation)
        if pending is None:
            return
        if not isinstance(pending.message, Start):
            events.append(Answered(correlation, error))
        elif error is not None:
            return  # without Start no record comes: it is repeated, and at last the conversation begun anew
        del self._pending[correlation]

    def _error(self, frame: Frame, message: Error, now: Instant, events: list[Event]) -> None:
        if message.code is ErrorCode.VERSION and self.state in CALLING:
            self._refused(message.detail >> 8 & 0xFF, message.detail & 0xFF, now, events)
        elif message.code is ErrorCode.NO_HELLO:
            # the device has restarted or given us up; it says so to each frame, also to those sent before the new hello
            if self.state in (LinkState.TALKING, LinkState.IDENTIFIED):
                events.append(self._begin_again(now))
        elif frame.correlation == 0:
            if self.state is LinkState.TALKING:
                events.append(Alarmed(message))
        else:
            self._answered(frame.correlation, message.code, events)

    def _refused(self, oldest: int, newest: int, now: Instant, events: list[Event]) -> None:
        self.state = LinkState.REFUSED
        self._hello_due_s = now.mono_s + HELLO_MOST_S
        events.append(Refused(oldest, newest))

    def _begin_again(self, now: Instant) -> Silent:
        self.counters.silences += 1
        self._pending.clear()
        self._queued.clear()
        self._hello_wait_s = HELLO_FIRST_S
        self._say_hello(now)
        return Silent()

    def _say_hello(self, now: Instant) -> None:
        self.state = LinkState.ASKING if self.answer is None else LinkState.SILENT
        self._hello_correlation = self._next_correlation()
        self._hello_s = now.mono_s
        self._hello_due_s = now.mono_s + self._hello_wait_s
        self._hello_wait_s = min(2 * self._hello_wait_s, HELLO_MOST_S)
        hello = Hello(
            version_min=OLDEST_PROTOCOL_VERSION,
            version_max=PROTOCOL_VERSION,
            schema_hash=schema_hash(),
            session=self._session,
            window=WINDOW,
        )
        self._send(hello, self._hello_correlation)

    def _beat(self, now: Instant) -> None:
        self._heartbeat_s = now.mono_s + HEARTBEAT_S
        time = Time(utc_ms=now.utc_ms, uncertainty_ms=CLOCK_UNCERTAINTY_MS, source=self._source)
        self._beat_sent = self._next_correlation(), now.mono_s
        self._send(time, self._beat_sent[0])

    def _repeat_requests(self, now: Instant) -> list[Event]:
        events: list[Event] = []
        for correlation, pending in list(self._pending.items()):
            if now.mono_s < pending.due_s:
                continue
            if pending.tries >= REQUEST_TRIES:
                if isinstance(pending.message, Start):
                    return [*events, self._begin_again(now)]
                del self._pending[correlation]
                events.append(Answered(correlation, None, gave_up=True))
                continue
            pending.tries += 1
            pending.due_s = now.mono_s + REQUEST_RETRY_S
            self._send(pending.message, correlation)
        return events

    def _send(self, message: Message, correlation: int = 0) -> None:
        if self._trace.is_on:
            self._trace.sent(message, correlation)
        self._output += encode_frame(message.frame(correlation))

    def _next_correlation(self) -> int:
        self._correlation = self._correlation % 0xFFFF + 1
        return self._correlation
