"""Writes docs/protocol.md: the prose of `page_text.md` with the tables of the definitions put in its places.

A place is a line or word `{{name}}`. The tables, the worked example and the sample conversation are computed, so they cannot be
wrong where the definitions are right; the tests run the pseudo code on the page against the golden vectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, framing, record
from protocol.fields import Layout
from protocol.framing import Frame, encode_frame
from protocol.generate import page_mqtt, schema, signed_vectors
from protocol.generate.markdown import table
from protocol.levels import Level
from protocol.messages import ERROR_MEANING, Ack, Capability, Done, Hello, HelloAnswer, Message, RecordMessage, Start
from protocol.record import FLAG_MEANING, KIND_MEANING, LOST_MEANING, Kind, Record, RecordFlag
from protocol.remote import MOST_LINES, MOST_RECORDS

PATH = "docs/protocol.md"
_TEMPLATE = Path(__file__).with_name("page_text.md")
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def generate() -> str:
    """Return the whole page; KeyError names a place in the prose that nothing fills."""
    return _PLACE.sub(lambda place: _PLACES[place[1]](), _TEMPLATE.read_text(encoding="utf-8"))


def _fields(layout: type[Layout]) -> str:
    rows = []
    for field in schema.fields_of(layout):
        meaning = field.doc
        if field.members is not None:
            meaning += f" ([{field.members.__name__}](#{field.members.__name__.lower()}))"
        rows.append([field.offset, "rest" if field.size is None else field.size, field.type_name, f"`{field.name}`", meaning])
    return table(["offset", "size", "type", "field", "meaning"], rows)


def _message_list() -> str:
    rows = []
    for message in schema.messages():
        fields = schema.fields_of(message)
        size = f"{schema.fixed_size(fields)}{'' if message.SIZE_BYTES is not None else ' or more'}"
        link = f"[{message.__name__}](#{message.__name__.lower()})"
        rows.append([f"0x{message.CODE:02X}", link, message.DIRECTION.value, size, message.ANSWER or "none"])
    return table(["type", "message", "direction", "payload bytes", "answered by"], rows)


def _messages() -> str:
    return "\n\n".join(_message(message) for message in schema.messages())


def _message(message: type[Message]) -> str:
    facts = [f"Type 0x{message.CODE:02X}, {message.DIRECTION.value}, since version {message.SINCE}."]
    if message.ANSWER:
        facts.append(f"Answered by {message.ANSWER}.")
    if message.ERRORS:
        facts.append(f"Errors: {', '.join(error.name for error in message.ERRORS)}.")
    if message.EXTENSIBLE:
        facts.append("A later version may append fields: ignore bytes after the last one you know.")
    fields = _fields(message) if schema.fields_of(message) else "No fields."
    return f"### {message.__name__}\n\n{schema.paragraph(message)}\n\n{' '.join(facts)}\n\n{fields}"


def _meaning_of(members: schema.Members) -> dict[IntEnum, str] | dict[IntFlag, str]:
    known: list[Any] = [ERROR_MEANING, KIND_MEANING, FLAG_MEANING, LOST_MEANING, {level: level.chinese for level in Level}]
    for meanings in known:
        if isinstance(next(iter(meanings)), members):
            return dict(meanings)
    return {}


def _enums() -> str:
    parts = []
    for members in schema.ENUMS.values():
        meanings: dict[Any, str] = dict(_meaning_of(members))
        head = ["bit" if schema.is_bit_set(members) else "value", "name", *(["meaning"] if meanings else [])]
        rows = [[member.value, f"`{member.name}`", *([meanings[member]] if meanings else [])] for member in members]
        parts.append(f"### {members.__name__}\n\n{schema.paragraph(members)}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def _hexed(data: bytes) -> str:
    return data.hex(" ")


def _example() -> str:
    """Take one frame through the encoder, block by block."""
    frame = Frame(Start.CODE, 1, Start(next_seq=0x00414201).pack())
    line = encode_frame(frame)
    body = framing.unstuff(line[1:-1])
    blocks, at, rest = [], 0, body + b"\x00"
    while at < len(rest):
        run = 0
        while rest[at + run] >= framing.RESERVED_VALUES:
            run += 1
        value = rest[at + run]
        code = framing.RESERVED_VALUES + framing.RESERVED_VALUES * run + value
        ordinary = _hexed(rest[at : at + run])
        written = _hexed(bytes([code]) + rest[at : at + run])
        blocks.append(
            [f"`{ordinary}`" if ordinary else "none", f"`{value:02x}`", f"5 + 5 × {run} + {value} = {code}", f"`{written}`"]
        )
        at += run + 1
    steps = table(["ordinary bytes", "then", "code", "written"], blocks)
    return (
        f"A Start with correlation id 1 for record number 0x00414201. Its body is `{_hexed(body)}`. With the zero appended:\n\n"
        f"{steps}\n\nOn the line, between delimiters: `{_hexed(line)}`."
    )


def _conversation() -> str:
    device = HelloAnswer(
        version=PROTOCOL_VERSION,
        version_min=OLDEST_PROTOCOL_VERSION,
        version_max=PROTOCOL_VERSION,
        schema_hash=schema.schema_hash(),
        session=0x5EED,
        device=signed_vectors.DEVICE,
        firmware="1.0.0",
        boot=1,
        uptime_ms=95_000,
        oldest_seq=1,
        next_seq=4,
        receipt_seq=1,
        capacity=10_560,
        capabilities=Capability(0),
    )
    hello = Hello(
        version_min=OLDEST_PROTOCOL_VERSION,
        version_max=PROTOCOL_VERSION,
        schema_hash=schema.schema_hash(),
        session=0x5EED,
        window=8,
    )
    rating = RecordMessage(record=bytes.fromhex(signed_vectors.chain()[2]["record"]))
    said: list[tuple[Message, int]] = [
        (hello, 1),
        (device, 1),
        (Start(next_seq=3), 2),
        (Done(), 2),
        (rating, 0),
        (Ack(next_seq=4), 0),
    ]
    rows = [[m.DIRECTION.value, type(m).__name__, cid, f"`{_hexed(encode_frame(m.frame(cid)))}`"] for m, cid in said]
    return table(["direction", "message", "correlation", "bytes on the line"], rows)


def _single(value: object) -> Callable[[], str]:
    return lambda: str(value)


_PLACES: dict[str, Callable[[], str]] = {
    "version": _single(PROTOCOL_VERSION),
    "oldest_version": _single(OLDEST_PROTOCOL_VERSION),
    "schema_hash": lambda: f"0x{schema.schema_hash():08X}",
    "max_payload": _single(framing.MAX_PAYLOAD_BYTES),
    "max_body": _single(framing.MAX_BODY_BYTES),
    "max_encoded": _single(framing.MAX_ENCODED_BYTES),
    "record_bytes": _single(record.RECORD_BYTES),
    "signed_bytes": _single(record.SIGNED_BYTES),
    "record_format": lambda: f"0x{record.FORMAT:02X}",
    "seq_span": lambda: f"{record.SEQ_SPAN:,}",
    "record_kinds": _single(len(Kind)),
    "free_standing": _single(RecordFlag.FREE_STANDING.name),
    "extensible": lambda: ", ".join(message.__name__ for message in schema.messages() if message.EXTENSIBLE),
    "example": _example,
    "conversation": _conversation,
    "message_list": _message_list,
    "messages": _messages,
    "enums": _enums,
    "record_fields": lambda: _fields(Record),
    "digest_example": lambda: signed_vectors.sections()["context_digests"][1]["text"],
    "topics": page_mqtt.topics,
    "payloads": page_mqtt.payloads,
    "remote_lines": _single(MOST_LINES),
    "remote_records": _single(f"{MOST_RECORDS:,}"),
    "remote_kinds": page_mqtt.remote_kinds,
    "remote_refusals": page_mqtt.remote_refusals,
}
