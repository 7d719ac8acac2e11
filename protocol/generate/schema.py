"""The definitions as plain data: what every generator needs to know about a field, and the schema hash.

`fields_of` walks the construct Struct of a message or record, the same one that the host packs and parses with, so no generator
has its own idea of a layout. The hash covers names, codes, directions, types and enum members, and no sentence: better
wording does not make two sides differ.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cache

from construct import Bytes, FormatField, Renamed  # type: ignore[import-untyped]  # construct ships no type information

from protocol.fields import Code, Flags, Layout, TailText, Text
from protocol.levels import Level
from protocol.messages import (
    BY_CODE,
    CancelReason,
    Capability,
    Condition,
    Direction,
    ErrorCode,
    Language,
    Message,
    PauseReason,
    Prompt,
    SessionState,
    TimeSource,
)
from protocol.record import Algorithm, Kind, LostReason, Record, RecordFlag, TimeQuality

Members = type[IntEnum] | type[IntFlag]

ENUMS: dict[str, Members] = {
    "ERROR": ErrorCode,
    "SOURCE": TimeSource,
    "CANCEL": CancelReason,
    "PAUSE": PauseReason,
    "PROMPT": Prompt,
    "LANGUAGE": Language,
    "STATE": SessionState,
    "CAPABILITY": Capability,
    "CONDITION": Condition,
    "ALGORITHM": Algorithm,
    "KIND": Kind,
    "LOST": LostReason,
    "FLAG": RecordFlag,
    "QUALITY": TimeQuality,
    "LEVEL": Level,
}
"""Every enum of the wire by the prefix that its members have in languages without enums."""

_LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a layout; `size` is None for a tail that reaches to the end of the payload."""

    name: str
    doc: str
    offset: int
    size: int | None
    letter: str
    """The field's code in Python's struct module, or an empty string for a tail."""
    is_text: bool = False
    members: Members | None = None

    @property
    def is_bytes(self) -> bool:
        """True for raw bytes and text, False for integers."""
        return self.letter == "" or self.letter.endswith("s")

    @property
    def is_flags(self) -> bool:
        """True for a set of independent bits."""
        return self.members is not None and is_bit_set(self.members)

    @property
    def type_name(self) -> str:
        """The type as the protocol page prints it: `u32`, `bytes 16`, `text 12`, `text to the end`."""
        if self.size is None:
            return "text to the end"
        if self.is_bytes:
            return f"{'text' if self.is_text else 'bytes'} {self.size}"
        return f"u{8 * self.size}"


def is_bit_set(members: Members) -> bool:
    """True for an enum of independent bits."""
    return issubclass(members, IntFlag)


def fields_of(layout: type[Layout]) -> list[FieldInfo]:
    """Return the fields of a layout in wire order."""
    found: list[FieldInfo] = []
    offset = 0
    for named in layout.STRUCT.subcons:
        subcon, members, is_text = named, None, False
        while not isinstance(subcon, FormatField | Bytes | TailText):
            if isinstance(subcon, Code | Flags):
                members = subcon.members
            elif isinstance(subcon, Text):
                is_text = True
            elif not isinstance(subcon, Renamed):
                raise TypeError(f"{layout.__name__}.{named.name}: the generators do not know {type(subcon).__name__}")
            subcon = subcon.subcon
        if isinstance(subcon, TailText):
            found.append(FieldInfo(named.name, named.docs, offset, None, "", is_text=True))
            break
        if isinstance(subcon, FormatField) and subcon.fmtstr not in ("<B", "<H", "<L", "<Q"):
            raise TypeError(f"{layout.__name__}.{named.name}: the generators do not know the number {subcon.fmtstr}")
        size = int(subcon.sizeof())
        letter = f"{size}s" if isinstance(subcon, Bytes) else _LETTERS[size]
        found.append(FieldInfo(named.name, named.docs, offset, size, letter, is_text, members))
        offset += size
    return found


def struct_format(fields: list[FieldInfo]) -> str:
    """Return the little-endian format of Python's struct module for all fields before a tail."""
    return "<" + "".join(field.letter for field in fields)


def fixed_size(fields: list[FieldInfo]) -> int:
    """Return the bytes of all fields before a tail."""
    return sum(field.size or 0 for field in fields)


def messages() -> list[type[Message]]:
    """Return every message, those to the device first, in the order of their codes."""
    return [BY_CODE[code] for code in sorted(BY_CODE)]


def is_to_device(message: type[Message]) -> bool:
    """True when the host sends this message."""
    return message.DIRECTION is Direction.TO_DEVICE


def snake(name: str) -> str:
    """Return `HelloAnswer` as `hello_answer`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def sentence(documented: type) -> str:
    """Return the first line of a docstring."""
    return paragraph(documented).split("\n")[0]


def paragraph(documented: type) -> str:
    """Return a docstring without its indentation."""
    return re.sub(r"\n[ ]+", "\n", (documented.__doc__ or "").strip())


def canonical_text() -> str:
    """Return the definitions in one fixed form, the text that is hashed."""
    lines = []
    for message in messages():
        extensible = " extensible" if message.EXTENSIBLE else ""
        lines.append(f"message 0x{message.CODE:02x} {message.__name__} {message.DIRECTION.name}{extensible}")
        lines += _field_lines(message)
    lines.append(f"record {Record.__name__}")
    lines += _field_lines(Record)
    for members in ENUMS.values():
        lines.append(f"enum {members.__name__}")
        lines += [f"  {member.name}={member.value}" for member in members]
    return "\n".join(lines) + "\n"


def _field_lines(layout: type[Layout]) -> list[str]:
    return [f"  {f.name}: {f.type_name}{' ' + f.members.__name__ if f.members else ''}" for f in fields_of(layout)]


@cache
def schema_hash() -> int:
    """Return the first 4 bytes of SHA-256 over the canonical text as a little-endian u32."""
    return int.from_bytes(hashlib.sha256(canonical_text().encode("utf-8")).digest()[:4], "little")
