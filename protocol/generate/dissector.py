"""Writes protocol/wireshark/evaluator.lua: a Wireshark dissector for captures of the line.

The Lua code stands in `dissector.lua.txt`, with places marked @LIKE_THIS@ for the tables of messages, enums and the record. The
record's level is shown among its fields, as it is readable on the line anyway, and kept out of the packet list.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from protocol import framing
from protocol.fields import Layout
from protocol.generate import schema
from protocol.generate.schema import FieldInfo, Members
from protocol.record import RECORD_BYTES, Record

PATH = "protocol/wireshark/evaluator.lua"
_TEMPLATE = Path(__file__).with_name("dissector.lua.txt")


def generate() -> str:
    """Return the whole file."""
    at = {field.name: field.offset for field in schema.fields_of(Record)}
    places = {
        "ENUMS": "\n".join(_enum(members) for members in schema.ENUMS.values() if not schema.is_bit_set(members)),
        "BITS": "\n".join(_bit_set(members) for members in schema.ENUMS.values() if schema.is_bit_set(members)),
        "MESSAGES": "\n".join(_message_lines()),
        "RECORD": "\n".join(_field_lines(Record, "  ")),
        "RESERVED": str(framing.RESERVED_VALUES),
        "LONGEST": str(framing.LONGEST_RUN),
        "SHORTEST": str(framing.HEAD_BYTES + framing.CRC_BYTES),
        "RECORD_BYTES": str(RECORD_BYTES),
        "AT_KIND": str(at["kind"]),
        "AT_SEQ": str(at["seq"]),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for place, content in places.items():
        text = text.replace(f"@{place}@", content)
    return text


def _enum(members: Members) -> str:
    return f"  {members.__name__} = {{ {', '.join(f'[{member.value}] = {_quoted(member.name)}' for member in members)} }},"


def _bit_set(members: Members) -> str:
    listed = ", ".join(f"{{ name = {_quoted(member.name)}, mask = {member.value} }}" for member in members)
    return f"  {members.__name__} = {{ {listed} }},"


def _message_lines() -> Iterable[str]:
    for message in schema.messages():
        fields = schema.fields_of(message)
        longer = message.EXTENSIBLE or message.SIZE_BYTES is None
        yield f"  [0x{message.CODE:02X}] = {{"
        yield f"    name = {_quoted(message.__name__)}, filter = {_quoted(schema.snake(message.__name__))},"
        yield f"    direction = {_quoted(message.DIRECTION.value)},"
        yield f"    size = {schema.fixed_size(fields)}, longer = {str(longer).lower()},"
        yield "    fields = {"
        yield from _field_lines(message, "      ")
        yield "    },"
        yield "  },"


def _field_lines(layout: type[Layout], indent: str) -> Iterable[str]:
    for field in schema.fields_of(layout):
        parts = [f"name = {_quoted(field.name)}", f"type = {_quoted(_type(field))}"]
        if field.size is not None:
            parts.append(f"size = {field.size}")
        if field.members is not None:
            parts.append(f"{'bits' if field.is_flags else 'enum'} = {_quoted(field.members.__name__)}")
        yield f"{indent}{{ {', '.join(parts)}, doc = {_quoted(field.doc)} }},"


def _type(field: FieldInfo) -> str:
    if field.is_bytes:
        return "string" if field.is_text else "bytes"
    return f"uint{8 * (field.size or 0)}"


def _quoted(text: str | None) -> str:
    escaped = (text or "").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
