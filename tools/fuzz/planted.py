"""Bugs put in on purpose, so that it is known that the harness can find one: `--plant` names it. Never part of the product."""

from __future__ import annotations

from collections.abc import Callable

from protocol import framing, quick_record
from protocol.errors import FrameError
from protocol.record import Record

_SPECIAL = 0x80


def special_byte() -> None:
    """Make the quick parser of records crash on one bit of one byte, deep in a record whose CRC fits."""
    genuine = quick_record.quick_parse

    def quick_parse(raw: bytes) -> Record:
        record = genuine(raw)
        if raw[35] & _SPECIAL and not raw[34] & _SPECIAL:  # both bytes of `detail`; in seeds they are alike
            raise ZeroDivisionError("planted")
        return record

    quick_record.quick_parse = quick_parse


def lenient_block() -> None:
    """Make the frame decoder take a control byte inside a block: two encodings of one body, and a device that disagrees."""
    framing.unstuff = _lenient


def _lenient(encoded: bytes) -> bytes:
    out, at, code = bytearray(), 0, 0
    while at < len(encoded):
        code = encoded[at]
        if code < framing.RESERVED_VALUES:
            raise FrameError("encoding", "a control byte where a block begins")
        run = framing.LONGEST_RUN if code == 0xFF else (code - framing.RESERVED_VALUES) // framing.RESERVED_VALUES
        out += encoded[at + 1 : at + 1 + run]
        if code != 0xFF:
            out.append((code - framing.RESERVED_VALUES) % framing.RESERVED_VALUES)
        at += 1 + run
    if code == 0xFF or not out or out[-1]:
        raise FrameError("encoding", "no block for the appended zero")
    return bytes(out[:-1])


PLANTED: dict[str, tuple[str, Callable[[], None]]] = {
    "special-byte": ("records", special_byte),
    "lenient-block": ("frames", lenient_block),
}
"""Each with the target that has to find it."""
