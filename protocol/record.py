"""The signed journal record: 128 bytes that mean the same in flash, on the wire, on the PC and in the collection.

A record can be checked on its own (CRC against damage, MAC against forgery) and against its neighbour (it carries the MAC
of the record before it), so that what is missing can be named without doubting what follows.
"""

from __future__ import annotations

import zlib
from enum import IntEnum, IntFlag
from typing import Final

from protocol.errors import MessageError, RecordError
from protocol.fields import U8, U16, U32, U64, Code, Flags, Layout, Raw, Text, layout, wire
from protocol.levels import Level

RECORD_BYTES: Final = 128
FORMAT: Final = 0x11
MAC_BYTES: Final = 16
SIGNED_BYTES: Final = RECORD_BYTES - MAC_BYTES - 4
UNKNOWN_UNCERTAINTY: Final = 0xFFFFFFFF
SEQ_SPAN: Final = 1 << 22
"""A journal that had to be started anew continues at the next multiple of this, so that no number comes twice."""


class Algorithm(IntEnum):
    """How `mac` was made."""

    HMAC_SHA256_128 = 1
    HMAC_SM3_128 = 2


class Kind(IntEnum):
    """What a record says. Only RATING is a rating."""

    BOOT = 1
    RATING = 2
    EXTRA = 3
    EXPIRED = 4
    CANCELLED = 5
    SIGN_IN = 6
    SIGN_OUT = 7
    PAUSED = 8
    RESUMED = 9
    LOST = 10


KIND_MEANING = {
    Kind.BOOT: "the device started; `value` counts writes before it that were found cut short, or, with NEW_JOURNAL, "
    "sectors of the old journal that held something; `refers_to` is the first record that no receipt covered then",
    Kind.RATING: "a press that rates; `value` is the time since the evaluation was opened, in ms",
    Kind.EXTRA: "a press after the rating was final, or one key again; `refers_to` is the rating. Never counted",
    Kind.EXPIRED: "nobody pressed in time; `value` is how long it was open, in ms",
    Kind.CANCELLED: "withdrawn before a press; `detail` is the cancel reason",
    Kind.SIGN_IN: "`staff` serves from now on",
    Kind.SIGN_OUT: "`staff` no longer serves",
    Kind.PAUSED: "the window has stopped serving; `detail` is the pause reason",
    Kind.RESUMED: "the window serves again",
    Kind.LOST: "the journal cannot read the `value` numbers from `refers_to` on; `detail` is the reason",
}


class LostReason(IntEnum):
    """Why numbers of the journal cannot be read."""

    DAMAGED = 0
    CUT_SHORT = 1


LOST_MEANING = {
    LostReason.DAMAGED: "flash was damaged: as many records as that, or fewer, are gone unless they were collected before",
    LostReason.CUT_SHORT: "the power went while it was written, or it was damaged before anything followed it: nobody need have "
    "been thanked, and nothing need be missing",
}


class RecordFlag(IntFlag):
    """Circumstances of a record."""

    FREE_STANDING = 1
    REVISION = 2
    WHILE_PAUSED = 4
    NEW_JOURNAL = 8
    NO_HOST = 16


FLAG_MEANING = {
    RecordFlag.FREE_STANDING: "no evaluation was open: the press needs neither PC nor case",
    RecordFlag.REVISION: "a change of mind: replaces the rating in `refers_to`, which stays on record",
    RecordFlag.WHILE_PAUSED: "pressed while the window had stopped serving",
    RecordFlag.NEW_JOURNAL: "first record of a journal; its `prev_mac` is zero",
    RecordFlag.NO_HOST: "no host was heard when it was written",
}


class TimeQuality(IntEnum):
    """What `utc_ms` is worth. Order is by `seq` alone."""

    NONE = 0
    STALE = 1
    FREE_RUNNING = 2
    SYNCHRONISED = 3


@layout
class Record(Layout):
    """One entry of the device's journal."""

    format: int = wire(U8, "0x11 for this layout; 0xFF is blank flash")
    algorithm: Algorithm = wire(Code(U8, Algorithm), "how the MAC was made")
    kind: Kind = wire(Code(U8, Kind), "what it says")
    level: int = wire(U8, "5 to 1 for a rating or an extra press, 0 for everything else")
    seq: int = wire(U32, "number of the record, one up from the last")
    boot: int = wire(U32, "number of the boot that wrote it")
    uptime_ms: int = wire(U64, "milliseconds since that boot")
    utc_ms: int = wire(U64, "best known time, milliseconds since 1970 UTC; 0 when unknown")
    uncertainty_ms: int = wire(U32, "how far off `utc_ms` may be; 4294967295 means unknown")
    quality: TimeQuality = wire(Code(U8, TimeQuality), "what `utc_ms` rests on")
    flags: RecordFlag = wire(Flags(U8, RecordFlag), "circumstances")
    detail: int = wire(U16, "depends on the kind, else 0")
    refers_to: int = wire(U32, "another record, depending on the kind, else 0")
    value: int = wire(U32, "depends on the kind, else 0")
    evaluation: bytes = wire(Raw(16), "id of the evaluation, or zeros")
    context_digest: bytes = wire(Raw(16), "digest of the case context as it was at the press, or zeros")
    staff: str = wire(Text(16), "who was signed in, or empty")
    prev_mac: bytes = wire(Raw(16), "MAC of the record before this one, zeros in the first of a journal")
    mac: bytes = wire(Raw(16), "signature over all bytes before it")
    crc: int = wire(U32, "CRC-32 of zlib over all bytes before it")

    @property
    def rating(self) -> Level | None:
        """The level of a rating, None for everything that is not one (extra presses included)."""
        return Level(self.level) if self.kind is Kind.RATING else None

    @property
    def signed(self) -> bytes:
        """The bytes that `mac` covers."""
        return self.pack()[:SIGNED_BYTES]


def parse_record(raw: bytes) -> Record:
    """Return the record in `raw`, or RecordError. The MAC is not looked at: that takes a key, see signing.verify."""
    if len(raw) != RECORD_BYTES:
        raise RecordError("length", f"{len(raw)} bytes are not a record of {RECORD_BYTES}")
    if zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise RecordError("crc", "the record's CRC-32 does not match")
    if raw[0] != FORMAT:
        raise RecordError("format", f"record format 0x{raw[0]:02x}, this program reads 0x{FORMAT:02x}")
    try:
        record = Record.unpack(raw)
    except MessageError as error:
        raise RecordError("value", str(error)) from error
    pressed = record.kind in (Kind.RATING, Kind.EXTRA)
    if pressed != (1 <= record.level <= 5) or (not pressed and record.level):
        raise RecordError("value", f"level {record.level} in a record of kind {record.kind.name}")
    if record.seq == 0:
        raise RecordError("value", "record number 0 does not exist")
    return record


def is_journal_start(seq: int) -> bool:
    """True for the numbers at which a journal may begin."""
    return seq % SEQ_SPAN == 1
