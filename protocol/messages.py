"""Every message that a frame can carry, defined once.

The docstring of a message, the sentence of each field and the numbers beside them are the protocol page. Codes below
0x40 go to the device, codes from 0x40 up come from it. A device says nothing before a valid hello.

To change the protocol: change it here, raise PROTOCOL_VERSION when an old peer would misread it, run
`python -m protocol.generate`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum, IntFlag
from typing import ClassVar, TypeVar

from protocol.errors import MessageError
from protocol.fields import U8, U16, U32, U64, Code, Flags, Layout, Raw, TailText, Text, layout, wire
from protocol.framing import Frame


class Direction(Enum):
    """Who sends a message."""

    TO_DEVICE = "host → device"
    FROM_DEVICE = "device → host"


class ErrorCode(IntEnum):
    """Why a request was refused or what went wrong on the device."""

    VERSION = 1
    UNKNOWN_TYPE = 2
    LENGTH = 3
    VALUE = 4
    NO_HELLO = 5
    EVALUATION = 6
    JOURNAL_FULL = 7
    JOURNAL_FAULT = 8
    RECEIPT = 9


ERROR_MEANING = {
    ErrorCode.VERSION: "no protocol version in common; `detail` is the device's oldest version × 256 + its newest",
    ErrorCode.UNKNOWN_TYPE: "the device does not know this message type",
    ErrorCode.LENGTH: "the payload is shorter or longer than the layout",
    ErrorCode.VALUE: "a field holds a value outside its list",
    ErrorCode.NO_HELLO: "the request came before hello, or after the device had given the host up",
    ErrorCode.EVALUATION: "this evaluation is not the one that is open",
    ErrorCode.JOURNAL_FULL: "the journal has no room; nothing was recorded and nobody was thanked",
    ErrorCode.JOURNAL_FAULT: "the flash could not be programmed; `detail` is the sector",
    ErrorCode.RECEIPT: "the receipt's signature or its record does not fit; nothing was released",
}


class TimeSource(IntEnum):
    """Where the host's idea of the time comes from."""

    UNKNOWN = 0
    FREE_RUNNING = 1
    SYNCHRONISED = 2


class CancelReason(IntEnum):
    """Why an open evaluation ended without a rating."""

    BY_STAFF = 1
    SUPERSEDED = 2


class Prompt(IntEnum):
    """What the device says to a citizen without being asked to by a press."""

    WELCOME = 0
    CALL = 1
    TEXT = 2


class PauseReason(IntEnum):
    """Why a window has stopped serving for a while."""

    OTHER = 0
    BREAK = 1
    MEETING = 2
    SYSTEM_FAULT = 3


class Language(IntEnum):
    """Which voice pack speaks; a device without that pack uses its own setting."""

    DEVICE_SETTING = 0
    MANDARIN = 1
    DAI = 2
    JINGPO = 3


class SessionState(IntEnum):
    """What the device is doing for the citizen; it never tells the level."""

    IDLE = 0
    OPENED = 1
    CHANGEABLE = 2
    RESTING = 3


class Capability(IntFlag):
    """What a device can do or how it was provisioned."""

    VOICE = 1
    RELEASE_ON_ACK = 2


class Condition(IntFlag):
    """What is not as it should be, or not as usual, on a device."""

    JOURNAL_FULL = 1
    JOURNAL_FAULT = 2
    PAUSED = 4
    KEY_STUCK = 8
    RECEIPT_REFUSED = 16


class Message(Layout):
    """Base of all messages."""

    CODE: ClassVar[int]
    DIRECTION: ClassVar[Direction]
    SINCE: ClassVar[int]
    ERRORS: ClassVar[tuple[ErrorCode, ...]]
    ANSWER: ClassVar[str]
    EXTENSIBLE: ClassVar[bool]

    def frame(self, correlation: int = 0) -> Frame:
        """Wrap the message; `correlation` is 0 for what answers nothing and asks nothing."""
        return Frame(self.CODE, correlation, self.pack())


M = TypeVar("M", bound=Message)
BY_CODE: dict[int, type[Message]] = {}
"""Every message class by its type byte."""


def _message(
    code: int,
    direction: Direction,
    *,
    since: int = 1,
    answer: str = "",
    errors: tuple[ErrorCode, ...] = (),
    extensible: bool = False,
) -> Callable[[type[M]], type[M]]:
    def made(cls: type[M]) -> type[M]:
        if code in BY_CODE:
            raise AssertionError(f"message code 0x{code:02x} is taken by {BY_CODE[code].__name__}")
        cls.CODE, cls.DIRECTION, cls.SINCE, cls.ANSWER = code, direction, since, answer
        cls.ERRORS, cls.EXTENSIBLE = errors, extensible
        BY_CODE[code] = cls
        return cls

    return made


def parse_message(frame: Frame) -> Message:
    """Return the typed message of a frame; MessageError("type" | "length" | "value")."""
    cls = BY_CODE.get(frame.type)
    if cls is None:
        raise MessageError("type", f"unknown message type 0x{frame.type:02x} with {len(frame.payload)} bytes")
    return cls.unpack(frame.payload, extensible=cls.EXTENSIBLE)


_CHECKS = (ErrorCode.LENGTH, ErrorCode.VALUE)
_RECORDED = (*_CHECKS, ErrorCode.NO_HELLO, ErrorCode.JOURNAL_FULL, ErrorCode.JOURNAL_FAULT)


@_message(0x10, Direction.TO_DEVICE, answer="HelloAnswer", errors=(ErrorCode.VERSION, ErrorCode.LENGTH), extensible=True)
@layout
class Hello(Message):
    """Ask the device who it is and open a conversation; ends any earlier one.

    Sent after opening the port, after every silence, and whenever the host is in doubt. The device answers with the
    highest version that both speak and then waits for Start before it sends records.
    """

    version_min: int = wire(U8, "oldest protocol version that the host speaks")
    version_max: int = wire(U8, "newest protocol version that the host speaks")
    schema_hash: int = wire(U32, "hash of the host's definitions, for the log; it decides nothing")
    session: int = wire(U32, "a number the host draws for this conversation; echoed in the answer")
    window: int = wire(U8, "how many records may be on the way without an ack, 1 to 32")


@_message(0x11, Direction.TO_DEVICE, answer="Done", errors=(ErrorCode.LENGTH, ErrorCode.NO_HELLO))
@layout
class Start(Message):
    """Send records from `next_seq` on, or from the oldest one held if that is later; may be repeated to go back."""

    next_seq: int = wire(U32, "first record that the host does not have; 0 means everything the device holds")


@_message(0x12, Direction.TO_DEVICE, answer="Status", errors=(*_CHECKS, ErrorCode.NO_HELLO))
@layout
class Time(Message):
    """Tell the device the time; also the host's heartbeat, at least every 5 s.

    A device that hears nothing valid for 15 s falls silent until the next hello. It goes on taking presses.
    """

    utc_ms: int = wire(U64, "milliseconds since 1970-01-01 UTC at the moment of sending")
    uncertainty_ms: int = wire(U32, "how far off that may be; 4294967295 means unknown")
    source: TimeSource = wire(Code(U8, TimeSource), "where the host has it from")


@_message(0x13, Direction.TO_DEVICE, answer="Status", errors=(ErrorCode.LENGTH, ErrorCode.NO_HELLO))
@layout
class StatusRequest(Message):
    """Ask for a Status now."""


@_message(0x20, Direction.TO_DEVICE, answer="Done", errors=_RECORDED)
@layout
class Open(Message):
    """Open one evaluation: the device invites the citizen, and the next press rates this case.

    Opening the evaluation that is already open, or the one that has just ended, changes nothing and is answered with Done:
    a repeated request is safe. Another evaluation that is still open ends as cancelled, reason superseded.
    """

    evaluation: bytes = wire(Raw(16), "id of the evaluation, a UUID; never all zero")
    context_digest: bytes = wire(Raw(16), "digest of the case context, bound into the record")
    timeout_ms: int = wire(U32, "the evaluation expires after this long, 1,000 to 3,600,000")
    language: Language = wire(Code(U8, Language), "voice pack for this citizen")


@_message(0x21, Direction.TO_DEVICE, answer="Done", errors=(*_RECORDED, ErrorCode.EVALUATION))
@layout
class Cancel(Message):
    """Withdraw an open evaluation. A rating that was already given stays."""

    evaluation: bytes = wire(Raw(16), "id of the evaluation")
    reason: CancelReason = wire(Code(U8, CancelReason), "recorded with the cancellation")


@_message(0x22, Direction.TO_DEVICE, answer="Done", errors=_RECORDED)
@layout
class SignIn(Message):
    """Name the member of staff who now serves at this window; recorded, and bound into every record that follows."""

    staff: str = wire(Text(16), "staff number; not a person's name")


@_message(0x23, Direction.TO_DEVICE, answer="Done", errors=(ErrorCode.LENGTH, *_RECORDED[2:]))
@layout
class SignOut(Message):
    """Nobody is signed in at this window any more; recorded."""


@_message(0x24, Direction.TO_DEVICE, answer="Done", errors=_RECORDED)
@layout
class Pause(Message):
    """The window stops serving for a while (暂停服务); recorded. Presses are still taken and flagged."""

    reason: PauseReason = wire(Code(U8, PauseReason), "why")


@_message(0x25, Direction.TO_DEVICE, answer="Done", errors=(ErrorCode.LENGTH, *_RECORDED[2:]))
@layout
class Resume(Message):
    """The window serves again; recorded."""


@_message(0x26, Direction.TO_DEVICE, answer="Done", errors=(*_CHECKS, ErrorCode.NO_HELLO))
@layout
class Say(Message):
    """Speak to the citizen: welcome, the call to the window, or a text of the hall's own. Nothing is recorded.

    A device that has no such text refuses with VALUE. A request that was repeated is spoken again.
    """

    prompt: Prompt = wire(Code(U8, Prompt), "what to say")
    number: int = wire(U8, "which of the hall's texts, 1 and up, with TEXT; else 0")
    language: Language = wire(Code(U8, Language), "voice pack for this citizen")


@_message(0x30, Direction.TO_DEVICE, errors=(ErrorCode.LENGTH, ErrorCode.NO_HELLO))
@layout
class Ack(Message):
    """Every record before `next_seq` is durable at the host: stop repeating it. The device keeps it all the same."""

    next_seq: int = wire(U32, "first record that is not yet durable at the host")


@_message(0x31, Direction.TO_DEVICE, answer="Done", errors=(ErrorCode.LENGTH, ErrorCode.NO_HELLO, ErrorCode.RECEIPT))
@layout
class Receipt(Message):
    """The collector's signed word that it has stored every record before `next_seq`; only now may flash be recycled."""

    next_seq: int = wire(U32, "first record that the receipt does not cover")
    record_mac: bytes = wire(Raw(16), "MAC of the last record covered, number next_seq - 1")
    issued_ms: int = wire(U64, "when the collector signed it, milliseconds since 1970 UTC")
    mac: bytes = wire(Raw(16), "signature under the device key, see Signatures")


@_message(0x40, Direction.FROM_DEVICE, extensible=True)
@layout
class HelloAnswer(Message):
    """Who the device is, what it speaks and what it holds."""

    version: int = wire(U8, "the version that this conversation will use")
    version_min: int = wire(U8, "oldest protocol version that the device speaks")
    version_max: int = wire(U8, "newest protocol version that the device speaks")
    schema_hash: int = wire(U32, "hash of the definitions that the firmware was generated from")
    session: int = wire(U32, "the host's number from the hello")
    device: str = wire(Text(16), "device id, as on its label")
    firmware: str = wire(Text(12), "firmware version")
    boot: int = wire(U32, "number of this boot")
    uptime_ms: int = wire(U64, "milliseconds since this boot")
    oldest_seq: int = wire(U32, "oldest record held")
    next_seq: int = wire(U32, "number that the next record will get")
    receipt_seq: int = wire(U32, "first record not covered by a receipt")
    capacity: int = wire(U32, "records that fit into the journal")
    capabilities: Capability = wire(Flags(U32, Capability), "what it can do")


@_message(0x41, Direction.FROM_DEVICE)
@layout
class Done(Message):
    """The request with the same correlation id has been carried out; what it had to record is in flash."""


@_message(0x42, Direction.FROM_DEVICE)
@layout
class Status(Message):
    """The device's state; the answer to every Time, and so the device's heartbeat."""

    uptime_ms: int = wire(U64, "milliseconds since this boot")
    utc_ms: int = wire(U64, "the device's idea of the time; 0 when it has none")
    uncertainty_ms: int = wire(U32, "how far off that may be; 4294967295 means unknown")
    oldest_seq: int = wire(U32, "oldest record held")
    next_seq: int = wire(U32, "number that the next record will get")
    ack_seq: int = wire(U32, "first record the host has not acknowledged in this conversation")
    receipt_seq: int = wire(U32, "first record not covered by a receipt")
    free: int = wire(U32, "records that can still be written before the device must refuse")
    state: SessionState = wire(Code(U8, SessionState), "what it is doing for the citizen")
    conditions: Condition = wire(Flags(U16, Condition), "what is not as usual")
    evaluation: bytes = wire(Raw(16), "the evaluation it is busy with, or zeros")
    staff: str = wire(Text(16), "who is signed in, or empty")
    stuck_keys: int = wire(U8, "bit n: button n has been held for more than 10 s")
    bad_frames: int = wire(U32, "frames dropped since boot because they were damaged")
    resent: int = wire(U32, "records sent more than once since boot")


@_message(0x43, Direction.FROM_DEVICE, answer="Ack")
@layout
class RecordMessage(Message):
    """One journal record, bytes as in flash, in the order of its number; repeated until an Ack covers it."""

    record: bytes = wire(Raw(128), "the record, see The record")


@_message(0x44, Direction.FROM_DEVICE)
@layout
class Log(Message):
    """A sentence for the technician. Never a level, a key, or anything about a citizen."""

    uptime_ms: int = wire(U64, "when, milliseconds since this boot")
    severity: int = wire(U8, "1 error, 2 warning, 3 information")
    text: str = wire(TailText(), "the sentence, at most 120 bytes of UTF-8")


@_message(0x45, Direction.FROM_DEVICE, extensible=True)
@layout
class Error(Message):
    """The request with the same correlation id was refused, or (correlation id 0) something went wrong on its own."""

    code: ErrorCode = wire(Code(U8, ErrorCode), "what is wrong")
    about: int = wire(U8, "type of the message that it is about, or 0")
    detail: int = wire(U32, "see the table of errors")


@_message(0x46, Direction.FROM_DEVICE, answer="Ack")
@layout
class Unreadable(Message):
    """Sent in place of records that the device can no longer read, so that the host does not wait for them.

    Repeated like a record until an Ack covers it. The device also writes a signed record of kind LOST about them.
    """

    first_seq: int = wire(U32, "first record that cannot be read")
    count: int = wire(U32, "how many in a row, at least 1")
