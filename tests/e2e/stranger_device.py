"""A small rating device, written from docs/protocol.md alone and kept as proof that the page suffices.

It imports nothing of the project: an engineer elsewhere, with that page and the golden vectors, would arrive at a program like
this one. It doubles as the example for makers of devices. From top to bottom: frames, messages, records, the journal, the
stream of records (go-back-n), the device, and a TCP server that stands for the serial line::

    python stranger_device.py --port 7001 --id STRANGER-1 --key HEX

Lines `1` to `5` on standard input press the button of that level, `hangup` drops the connection.

Left out: **durable flash**. Records live in memory, so a power cut loses them, which a real device must never allow. That is
acceptable here because nobody rates on it, and because everything the page asks of the line, the records and the citizen's
side can be shown without it: `Journal` is the one class to replace. As the page demands of a device whose journal is gone, each
start begins a new one at the next multiple of 4,194,304; `--boot` says which start this is. Without flash nothing becomes
unreadable either, so Unreadable and LOST are never sent. Debouncing, stuck keys, light, sound and voices need hardware.

Only `serve` knows a socket and a clock; for the rest, bytes and the uptime in milliseconds go in and bytes come out.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import queue
import select
import socket
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

Fields = dict[str, Any]

PROTOCOL_VERSION = 1
SCHEMA_HASH = 0x3CE85FDF
LONGEST_ENCODED = 248
SHORTEST_BODY = 7
RECORDS_PER_JOURNAL = 4_194_304
SILENCE_MS = 15_000
FIRST_TIMEOUT_MS, SHORTEST_TIMEOUT_MS, LONGEST_TIMEOUT_MS = 300, 50, 5_000  # the shortest is this device's own choice
CHANGEABLE_MS, RESTING_MS = 3_000, 10_000
EXTRAS_PER_RATING = 5
TIME_STALE_MS = 3_600_000  # this device's own choice
UNKNOWN_UNCERTAINTY = 0xFFFFFFFF
ZEROS = bytes(16)


# Frames


def stuff(body: bytes) -> bytes:
    """Encode a body so that it holds no byte below 5."""
    out, ordinary = bytearray(), bytearray()
    for byte in body + b"\0":
        if byte < 5:
            out += bytes([5 + 5 * len(ordinary) + byte]) + ordinary
            ordinary.clear()
        else:
            ordinary.append(byte)
            if len(ordinary) == 50:
                out += b"\xff" + ordinary
                ordinary.clear()
    return bytes(out)


def unstuff(encoded: bytes) -> bytes:
    """Decode what stood between two delimiters, or raise ValueError."""
    body, at, code = bytearray(), 0, 0xFF
    while at < len(encoded):
        code = encoded[at]
        count = 50 if code == 0xFF else (code - 5) // 5
        ordinary = encoded[at + 1 : at + 1 + count]
        if code < 5 or len(ordinary) < count or any(byte < 5 for byte in ordinary):
            raise ValueError("encoding")
        body += ordinary
        if code != 0xFF:
            body.append((code - 5) % 5)
        at += 1 + count
    if code == 0xFF or body[-1] != 0:
        raise ValueError("encoding")
    return bytes(body[:-1])


def pack_frame(kind: int, correlation: int, payload: bytes) -> bytes:
    """Build a frame as it stands on the line, both delimiters included."""
    body = bytes([kind]) + correlation.to_bytes(2, "little") + payload
    return b"\0" + stuff(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


def unpack_frame(encoded: bytes) -> tuple[int, int, bytes]:
    """Return type, correlation and payload of what stood between two delimiters, or raise ValueError."""
    if len(encoded) > LONGEST_ENCODED:
        raise ValueError("oversized")
    body = unstuff(encoded)
    if len(body) < SHORTEST_BODY:
        raise ValueError("short")
    if zlib.crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
        raise ValueError("crc")
    return body[0], int.from_bytes(body[1:3], "little"), body[3:-4]


class FrameReader:
    """Cuts a stream of bytes into frames with a buffer that never exceeds one frame."""

    def __init__(self) -> None:
        self.bad_frames = 0
        self._buffer = bytearray()

    def read(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take bytes as they come and return the good frames that they complete."""
        frames = []
        for byte in data:
            if byte and len(self._buffer) <= LONGEST_ENCODED:  # one byte too many is enough to know it is oversized
                self._buffer.append(byte)
            elif not byte and self._buffer:
                try:
                    frames.append(unpack_frame(bytes(self._buffer)))
                except ValueError:  # a damaged frame is dropped, counted and not answered
                    self.bad_frames += 1
                self._buffer.clear()
        return frames


# Messages


class ErrorCode(IntEnum):
    """Why a request was refused."""

    VERSION, UNKNOWN_TYPE, LENGTH, VALUE, NO_HELLO, EVALUATION, JOURNAL_FULL, JOURNAL_FAULT, RECEIPT = range(1, 10)


class Refused(Exception):
    """A request that is answered with Error."""

    def __init__(self, code: ErrorCode, detail: int = 0) -> None:
        super().__init__(code.name)
        self.code, self.detail = code, detail


class Field(NamedTuple):
    """One row of a table of the page."""

    name: str
    form: str  # u: integer, b: bytes, t: text; a text of size 0 takes the rest
    size: int
    values: range | None


def layout(rows: str) -> tuple[Field, ...]:
    """Read a layout such as `reason u8 1-2, staff t16`: name, form and size, and the values of an enum."""
    fields = []
    for row in filter(None, rows.split(", ")):
        name, form, *values = row.split(" ")
        size = int(form[1:]) // (8 if form[0] == "u" else 1)
        low, high = values[0].split("-") if values else ("", "")
        fields.append(Field(name, form[0], size, range(int(low), int(high) + 1) if values else None))
    return tuple(fields)


class Message(IntEnum):
    """Message types; below 0x40 from the host, the others from the device."""

    HELLO, START, TIME, STATUS_REQUEST = 0x10, 0x11, 0x12, 0x13
    OPEN, CANCEL, SIGN_IN, SIGN_OUT, PAUSE, RESUME, SAY = 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26
    ACK, RECEIPT = 0x30, 0x31
    HELLO_ANSWER, DONE, STATUS, RECORD, LOG, ERROR, UNREADABLE = 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46


LAYOUTS = {
    Message.HELLO: layout("version_min u8, version_max u8, schema_hash u32, session u32, window u8"),
    Message.START: layout("next_seq u32"),
    Message.TIME: layout("utc_ms u64, uncertainty_ms u32, source u8 0-2"),
    Message.STATUS_REQUEST: layout(""),
    Message.OPEN: layout("evaluation b16, context_digest b16, timeout_ms u32, language u8 0-3"),
    Message.CANCEL: layout("evaluation b16, reason u8 1-2"),
    Message.SIGN_IN: layout("staff t16"),
    Message.SIGN_OUT: layout(""),
    Message.PAUSE: layout("reason u8 0-3"),
    Message.RESUME: layout(""),
    Message.SAY: layout("prompt u8 0-2, number u8, language u8 0-3"),
    Message.ACK: layout("next_seq u32"),
    Message.RECEIPT: layout("next_seq u32, record_mac b16, issued_ms u64, mac b16"),
    Message.HELLO_ANSWER: layout(
        "version u8, version_min u8, version_max u8, schema_hash u32, session u32, device t16, firmware t12, boot u32, "
        "uptime_ms u64, oldest_seq u32, next_seq u32, receipt_seq u32, capacity u32, capabilities u32"
    ),
    Message.DONE: layout(""),
    Message.STATUS: layout(
        "uptime_ms u64, utc_ms u64, uncertainty_ms u32, oldest_seq u32, next_seq u32, ack_seq u32, receipt_seq u32, free u32, "
        "state u8 0-3, conditions u16, evaluation b16, staff t16, stuck_keys u8, bad_frames u32, resent u32"
    ),
    Message.RECORD: layout("record b128"),
    Message.LOG: layout("uptime_ms u64, severity u8, text t0"),
    Message.ERROR: layout("code u8 1-9, about u8, detail u32"),
    Message.UNREADABLE: layout("first_seq u32, count u32"),
}
EXTENSIBLE = {Message.HELLO, Message.HELLO_ANSWER, Message.ERROR}  # a later version may append fields


def pack_fields(fields: tuple[Field, ...], values: Fields) -> bytes:
    """Lay out values one after the other."""
    out = bytearray()
    for field in fields:
        value = values[field.name]
        if field.form == "u":
            out += value.to_bytes(field.size, "little")
        else:
            out += (value.encode() if field.form == "t" else value).ljust(field.size, b"\0")
    return bytes(out)


def unpack_fields(fields: tuple[Field, ...], data: bytes) -> Fields:
    """Read what `pack_fields` wrote; ValueError for a value or a text that is not of the protocol."""
    values: Fields = {}
    at = 0
    for field in fields:
        part = data[at : at + field.size] if field.size else data[at:]
        at += len(part)
        if field.form == "u":
            values[field.name] = int.from_bytes(part, "little")
        else:
            values[field.name] = part.rstrip(b"\0").decode() if field.form == "t" else part
        if (field.values and values[field.name] not in field.values) or (field.form == "t" and "\0" in values[field.name]):
            raise ValueError(f"{field.name} is outside its list")
    return values


def pack_message(kind: int, values: Fields) -> bytes:
    """Build the payload of a message."""
    return pack_fields(LAYOUTS[Message(kind)], values)


def unpack_message(kind: int, payload: bytes) -> Fields:
    """Read the payload of a message, or raise Refused."""
    if kind not in LAYOUTS:
        raise Refused(ErrorCode.UNKNOWN_TYPE)
    message = Message(kind)
    size = sum(field.size for field in LAYOUTS[message])
    longer_is_fine = message in EXTENSIBLE or message == Message.LOG
    if len(payload) < size or (len(payload) > size and not longer_is_fine):
        raise Refused(ErrorCode.LENGTH)
    try:
        return unpack_fields(LAYOUTS[message], payload)
    except ValueError as error:
        raise Refused(ErrorCode.VALUE) from error


# Records and signatures


class Kind(IntEnum):
    """What a record says."""

    BOOT, RATING, EXTRA, EXPIRED, CANCELLED, SIGN_IN, SIGN_OUT, PAUSED, RESUMED, LOST = range(1, 11)


class Flag(IntFlag):
    """Circumstances of a record."""

    FREE_STANDING, REVISION, WHILE_PAUSED, NEW_JOURNAL, NO_HOST = 1, 2, 4, 8, 16


RECORD_FORMAT, HMAC_SHA256_128, SUPERSEDED = 0x11, 1, 2
SIGNED_FIELDS = layout(
    "format u8, algorithm u8 1-2, kind u8 1-10, level u8 0-5, seq u32, boot u32, uptime_ms u64, utc_ms u64, uncertainty_ms u32, "
    "quality u8 0-3, flags u8, detail u16, refers_to u32, value u32, evaluation b16, context_digest b16, staff t16, prev_mac b16"
)


def sign_record(fields: Fields, key: bytes) -> bytes:
    """Build the 128 bytes of a record."""
    signed = pack_fields(SIGNED_FIELDS, fields)
    record = signed + hmac.digest(key, signed, "sha256")[:16]
    return record + zlib.crc32(record).to_bytes(4, "little")


def receipt_is_genuine(receipt: Fields, key: bytes, device_id: str) -> bool:
    """Check the collector's signature."""
    said = receipt["next_seq"].to_bytes(4, "little") + receipt["record_mac"] + receipt["issued_ms"].to_bytes(8, "little")
    mac = hmac.digest(key, b"hcp receipt 1\0" + device_id.encode().ljust(16, b"\0") + said, "sha256")[:16]
    return hmac.compare_digest(mac, receipt["mac"])


class Journal:
    """The records, in memory here: a chain of signatures, of which nothing without a receipt is ever dropped."""

    def __init__(self, device_id: str, key: bytes, boot: int, capacity: int) -> None:
        self.capacity = capacity
        self.next = self.oldest = self.receipt = (boot - 1) * RECORDS_PER_JOURNAL + 1
        self._device_id, self._key, self._last_mac = device_id, key, ZEROS
        self._records: dict[int, bytes] = {}

    @property
    def free(self) -> int:
        return self.capacity - (self.next - self.receipt)

    def append(self, fields: Fields) -> int:
        """Sign and keep a record, and return its number. The caller has looked for room."""
        if len(self._records) == self.capacity:
            del self._records[self.oldest]  # `free` was above zero, so a receipt covers it
            self.oldest += 1
        seq = self.next
        if self._last_mac == ZEROS:
            fields = fields | {"flags": fields["flags"] | Flag.NEW_JOURNAL}
        record = sign_record(fields | {"seq": seq, "prev_mac": self._last_mac}, self._key)
        self._records[seq], self._last_mac = record, record[108:124]
        self.next += 1
        return seq

    def read(self, seq: int) -> bytes:
        return self._records[seq]

    def accept(self, receipt: Fields) -> bool:
        """Take a receipt if it is genuine and about these records."""
        last = self._records.get(receipt["next_seq"] - 1)
        if not receipt_is_genuine(receipt, self._key, self._device_id) or receipt["next_seq"] > self.next:
            return False
        if last is not None and last[108:124] != receipt["record_mac"]:
            return False
        self.receipt = max(self.receipt, receipt["next_seq"])
        return True


class Stream:
    """Go-back-n: sends the journal's records within the window and repeats them until an ack covers them."""

    def __init__(self, journal: Journal, window: int) -> None:
        self.ack, self.started, self.resent = journal.oldest, False, 0
        self._journal, self._window = journal, min(max(window, 1), 32)
        self._next = self._highest = self.ack  # next one to send; first one never sent
        self._timeout = float(FIRST_TIMEOUT_MS)
        self._deadline = 0.0
        self._round_trip: tuple[float, float] | None = None  # mean, deviation
        self._timing: tuple[int, int] | None = None  # a record sent once only, and when

    def start(self, seq: int) -> None:
        self.started, self._timing = True, None
        self.ack = self._next = self._highest = min(max(seq, self._journal.oldest), self._journal.next)

    def acknowledge(self, seq: int, now_ms: int) -> None:
        if not self.started or not self.ack < seq <= self._journal.next:
            return  # before Start, no progress, or about records that do not exist
        if self._timing and self._timing[0] < seq:
            self._measure(now_ms - self._timing[1])
            self._timing = None
        self.ack, self._next = seq, max(self._next, seq)
        mean, deviation = self._round_trip or (FIRST_TIMEOUT_MS, 0)
        self._timeout = min(max(mean + 4 * deviation, SHORTEST_TIMEOUT_MS), LONGEST_TIMEOUT_MS)
        self._deadline = now_ms + self._timeout

    def due(self, now_ms: int) -> list[bytes]:
        """Return the records to send now."""
        if not self.started:
            return []
        if self._next > self.ack and now_ms >= self._deadline:
            self._next, self._timing = self.ack, None
            self._timeout = min(2 * self._timeout, LONGEST_TIMEOUT_MS)
        self.ack, records = max(self.ack, self._journal.oldest), []  # a receipt may have freed what no ack covers
        self._next = max(self._next, self.ack)
        while self._next < self._journal.next and self._next < self.ack + self._window:
            if self._next == self.ack:
                self._deadline = now_ms + self._timeout
            if self._next < self._highest:
                self.resent += 1
            elif self._timing is None:
                self._timing = self._next, now_ms
            records.append(self._journal.read(self._next))
            self._next += 1
            self._highest = max(self._highest, self._next)
        return records

    def _measure(self, sample: float) -> None:
        mean, deviation = self._round_trip or (sample, sample)
        self._round_trip = (7 * mean + sample) / 8, (3 * deviation + abs(sample - mean)) / 4


# The device


class State(IntEnum):
    """What the device is doing for the citizen."""

    IDLE, OPENED, CHANGEABLE, RESTING = range(4)


@dataclass
class Evaluation:
    """What Open said, and when."""

    id: bytes = ZEROS
    digest: bytes = ZEROS
    opened_ms: int = 0
    timeout_ms: int = 0


@dataclass
class Rating:
    """The rating that the citizen may still change or press on."""

    seq: int
    level: int
    first_ms: int
    extras: int = 0


class Device:
    """The whole device. `now_ms` is always its uptime."""

    def __init__(self, device_id: str, key: bytes, boot: int = 1, capacity: int = 10_000) -> None:
        self.journal = Journal(device_id, key, boot, capacity)
        self.state, self.staff, self.paused = State.IDLE, "", False
        self._id, self._boot, self._booted = device_id, boot, False
        self._reader, self._output = FrameReader(), bytearray()
        self._stream: Stream | None = None  # there while a host is heard
        self._heard_ms = self._resent = 0
        self._evaluation, self._ended, self._rating = Evaluation(), ZEROS, Rating(0, 0, 0)
        self._time: tuple[int, int, int, int] | None = None  # utc, uncertainty, source, and the uptime when it came
        self._receipt_refused = False

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the line."""
        self.tick(now_ms)
        for kind, correlation, payload in self._reader.read(data):
            try:
                self._handle(kind, correlation, payload, now_ms)
            except Refused as refused:
                self._send(Message.ERROR, correlation, {"code": refused.code, "about": kind, "detail": refused.detail})
        self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Let time pass; call it at least every few tens of milliseconds."""
        evaluation = self._evaluation
        if self.state == State.OPENED and now_ms - evaluation.opened_ms >= evaluation.timeout_ms:
            self._write(Kind.EXPIRED, now_ms, evaluation, value=now_ms - evaluation.opened_ms)
            self._end_evaluation()
        if self.state == State.CHANGEABLE and now_ms - self._rating.first_ms >= CHANGEABLE_MS:
            self.state = State.RESTING
        if self.state == State.RESTING and now_ms - self._rating.first_ms >= RESTING_MS:
            self._end_evaluation()
        if self._stream and now_ms - self._heard_ms >= SILENCE_MS:
            self.hang_up()
        for record in self._stream.due(now_ms) if self._stream else []:
            self._send(Message.RECORD, 0, {"record": record})

    def press(self, level: int, now_ms: int) -> bool:
        """Take a press; True when it is recorded, and only then light and sound may say thanks."""
        self.tick(now_ms)
        rating, evaluation = self._rating, self._evaluation
        flags = Flag.WHILE_PAUSED * self.paused | Flag.FREE_STANDING * (evaluation.id == ZEROS)
        waited = now_ms - evaluation.opened_ms if evaluation.id != ZEROS else 0
        try:
            self._need_room(1, ends_evaluation=True)
            if self.state in (State.IDLE, State.OPENED):
                seq = self._write(Kind.RATING, now_ms, evaluation, level=level, flags=flags, value=waited)
                self._rating, self.state = Rating(seq, level, now_ms), State.CHANGEABLE
            elif self.state == State.CHANGEABLE and level != rating.level:
                old = {"flags": flags | Flag.REVISION, "refers_to": rating.seq}
                rating.seq = self._write(Kind.RATING, now_ms, evaluation, level=level, value=waited, **old)
                rating.level = level
            elif rating.extras < EXTRAS_PER_RATING:
                self._write(Kind.EXTRA, now_ms, evaluation, level=level, flags=flags, refers_to=rating.seq)
                rating.extras += 1
            else:
                return False
        except Refused:  # the journal is full: refuse visibly, and Status says so
            return False
        self.tick(now_ms)
        return True

    def take_output(self) -> bytes:
        """Return the bytes for the line since the last call."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def hang_up(self) -> None:
        """End the conversation: the host is silent, or the line is gone."""
        if self._stream:
            self._resent += self._stream.resent
        self._stream = None

    # Requests

    def _handle(self, kind: int, correlation: int, payload: bytes, now_ms: int) -> None:
        if kind >= Message.HELLO_ANSWER:
            return  # its own words, echoed
        if kind == Message.HELLO:
            self._on_hello(correlation, unpack_message(kind, payload), now_ms)
            return
        if self._stream is None:
            if kind != Message.ACK:  # an ack asks for nothing
                raise Refused(ErrorCode.NO_HELLO)
            return
        self._heard_ms = now_ms
        if kind not in LAYOUTS:
            raise Refused(ErrorCode.UNKNOWN_TYPE)
        request = unpack_message(kind, payload)
        match kind:
            case Message.START:
                self._stream.start(request["next_seq"])
            case Message.ACK:
                self._stream.acknowledge(request["next_seq"], now_ms)
                return
            case Message.TIME if request["source"]:  # a host that knows no time changes nothing
                self._time = request["utc_ms"], request["uncertainty_ms"], request["source"], now_ms
            case Message.OPEN:
                self._on_open(request, now_ms)
            case Message.CANCEL:
                self._on_cancel(request, now_ms)
            case Message.SIGN_IN:
                self._on_sign_in(request["staff"], now_ms)
            case Message.SIGN_OUT if self.staff:
                self._need_room(1)
                self._write(Kind.SIGN_OUT, now_ms)
                self.staff = ""
            case Message.PAUSE if not self.paused:
                self._need_room(1)
                self._write(Kind.PAUSED, now_ms, detail=request["reason"])
                self.paused = True
            case Message.RESUME if self.paused:
                self._need_room(1)
                self._write(Kind.RESUMED, now_ms)
                self.paused = False
            case Message.SAY if request["prompt"] == 2 or request["number"]:
                raise Refused(ErrorCode.VALUE)  # it has a buzzer, and no texts of any hall
            case Message.RECEIPT:
                self._on_receipt(request, now_ms)
        if kind in (Message.TIME, Message.STATUS_REQUEST):
            self._send(Message.STATUS, correlation, self._status(now_ms))
        else:
            self._send(Message.DONE, correlation, {})

    def _on_hello(self, correlation: int, hello: Fields, now_ms: int) -> None:
        self.hang_up()
        if not hello["version_min"] <= PROTOCOL_VERSION <= hello["version_max"]:
            raise Refused(ErrorCode.VERSION, PROTOCOL_VERSION * 256 + PROTOCOL_VERSION)
        self._stream, self._heard_ms = Stream(self.journal, hello["window"]), now_ms
        self._send(
            Message.HELLO_ANSWER,
            correlation,
            {"version": PROTOCOL_VERSION, "version_min": PROTOCOL_VERSION, "version_max": PROTOCOL_VERSION}
            | {"schema_hash": SCHEMA_HASH, "session": hello["session"], "device": self._id, "firmware": "stranger-1"}
            | {"boot": self._boot, "uptime_ms": now_ms, "capacity": self.journal.capacity, "capabilities": 0}
            | {"oldest_seq": self.journal.oldest, "next_seq": self.journal.next, "receipt_seq": self.journal.receipt},
        )

    def _on_receipt(self, receipt: Fields, now_ms: int) -> None:
        self._receipt_refused = not self.journal.accept(receipt)
        if self._receipt_refused:
            self._send(Message.LOG, 0, {"uptime_ms": now_ms, "severity": 2, "text": "a receipt was refused"})
            raise Refused(ErrorCode.RECEIPT)

    def _on_open(self, wanted: Fields, now_ms: int) -> None:
        if wanted["evaluation"] == ZEROS or not 1_000 <= wanted["timeout_ms"] <= 3_600_000:
            raise Refused(ErrorCode.VALUE)
        if wanted["evaluation"] in (self._evaluation.id, self._ended):
            return
        self._need_room(2 if self.state == State.OPENED else 1, ends_evaluation=True)
        if self.state == State.OPENED:
            self._write(Kind.CANCELLED, now_ms, self._evaluation, detail=SUPERSEDED)
        self._end_evaluation()
        self._evaluation = Evaluation(wanted["evaluation"], wanted["context_digest"], now_ms, wanted["timeout_ms"])
        self.state = State.OPENED

    def _on_cancel(self, cancel: Fields, now_ms: int) -> None:
        if cancel["evaluation"] == ZEROS:
            raise Refused(ErrorCode.VALUE)
        if self.state == State.OPENED and cancel["evaluation"] == self._evaluation.id:
            self._need_room(1, ends_evaluation=True)
            self._write(Kind.CANCELLED, now_ms, self._evaluation, detail=cancel["reason"])
            self._end_evaluation()
        elif cancel["evaluation"] not in (self._evaluation.id, self._ended):
            raise Refused(ErrorCode.EVALUATION)

    def _on_sign_in(self, staff: str, now_ms: int) -> None:
        if not staff:
            raise Refused(ErrorCode.VALUE)
        if staff != self.staff:
            self._need_room(1)
            self._write(Kind.SIGN_IN, now_ms, staff=staff)
            self.staff = staff

    # Parts

    def _end_evaluation(self) -> None:
        self._ended = self._evaluation.id if self._evaluation.id != ZEROS else self._ended
        self._evaluation, self.state = Evaluation(), State.IDLE

    def _need_room(self, count: int, *, ends_evaluation: bool = False) -> None:
        """Refuse when `count` records do not fit. One place is kept for the end of an open evaluation."""
        kept = self.state == State.OPENED and not ends_evaluation
        if self.journal.free < count + (not self._booted) + kept:
            raise Refused(ErrorCode.JOURNAL_FULL)

    def _write(self, kind: Kind, now_ms: int, about: Evaluation | None = None, **values: Any) -> int:
        """Sign a record; `values` are the fields that are not as usual."""
        if not self._booted:
            self._booted = True
            self._write(Kind.BOOT, now_ms)
        about = about or Evaluation()
        fields: Fields = {"format": RECORD_FORMAT, "algorithm": HMAC_SHA256_128, "kind": kind, "level": 0, "boot": self._boot}
        fields |= {"uptime_ms": now_ms, "flags": 0, "detail": 0, "refers_to": 0, "value": 0}
        fields |= {"evaluation": about.id, "context_digest": about.digest, "staff": self.staff}
        fields |= self._clock(now_ms) | values
        if not self._stream:
            fields["flags"] |= Flag.NO_HOST
        return self.journal.append(fields)

    def _clock(self, now_ms: int) -> Fields:
        """Tell the best known time and what it is worth."""
        if self._time is None:
            return {"utc_ms": 0, "uncertainty_ms": UNKNOWN_UNCERTAINTY, "quality": 0}
        utc, uncertainty, source, came_ms = self._time
        quality = source + 1 if now_ms - came_ms < TIME_STALE_MS else 1
        return {"utc_ms": utc + now_ms - came_ms, "uncertainty_ms": uncertainty, "quality": quality}

    def _status(self, now_ms: int) -> Fields:
        journal, stream, clock = self.journal, self._stream, self._clock(now_ms)
        conditions = 1 * (journal.free == 0) | 4 * self.paused | 16 * self._receipt_refused
        status: Fields = {"uptime_ms": now_ms, "utc_ms": clock["utc_ms"], "uncertainty_ms": clock["uncertainty_ms"]}
        status |= {"oldest_seq": journal.oldest, "next_seq": journal.next, "receipt_seq": journal.receipt}
        status |= {"ack_seq": stream.ack if stream else journal.oldest, "free": journal.free, "state": self.state}
        status |= {"conditions": conditions, "stuck_keys": 0, "bad_frames": self._reader.bad_frames}
        status |= {"resent": self._resent + (stream.resent if stream else 0)}
        return status | {"evaluation": self._evaluation.id, "staff": self.staff}

    def _send(self, kind: Message, correlation: int, values: Fields) -> None:
        self._output += pack_frame(kind, correlation, pack_message(kind, values))


def say(line: str) -> None:
    """Tell the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(device: Device, commands: queue.Queue[str], host: str, port: int) -> None:
    """Put the device on a TCP port, which stands for its serial line, until the program is stopped."""
    started = time.monotonic()
    connection: socket.socket | None = None
    with socket.create_server((host, port)) as listener:
        say(f"ready {listener.getsockname()[1]}")
        while True:
            readable = select.select([listener, connection] if connection else [listener], [], [], 0.01)[0]
            now_ms = int((time.monotonic() - started) * 1000)
            try:
                if connection and connection in readable:
                    data = connection.recv(4096)
                    if not data:
                        raise ConnectionError("the host has gone")
                    device.receive(data, now_ms)
                while not commands.empty():
                    command = commands.get_nowait()
                    if command in ("1", "2", "3", "4", "5"):
                        say("thanks" if device.press(int(command), now_ms) else "refused")
                    elif command == "hangup":
                        raise ConnectionError("told to hang up")
                device.tick(now_ms)
                if connection:
                    connection.sendall(device.take_output())
                if listener not in readable:
                    continue
            except OSError:  # however a connection ends, the device waits for the next one and takes presses
                pass
            if connection:
                connection.close()
                connection = None
            device.hang_up()
            device.take_output()  # what was meant for the last host is not for the next
            if listener in readable:
                connection = listener.accept()[0]
                connection.settimeout(1)


def read_commands(commands: queue.Queue[str]) -> None:
    """Hand on the lines of standard input."""
    for line in sys.stdin:
        commands.put(line.strip())


def main() -> None:
    """Run the device from the command line."""
    parser = argparse.ArgumentParser(description="A rating device on a TCP port, for trying out hosts.")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one; the first line printed says which")
    parser.add_argument("--id", required=True, help="device id, 1 to 16 of A-Z a-z 0-9 _ -")
    parser.add_argument("--key", type=bytes.fromhex, required=True, help="device key, 32 bytes in hex")
    parser.add_argument("--boot", type=int, default=1, help="which start this is, from 1; each one begins a journal")
    options = parser.parse_args()
    commands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it is stopped
        serve(Device(options.id, options.key, options.boot), commands, "127.0.0.1", options.port)


if __name__ == "__main__":
    main()
