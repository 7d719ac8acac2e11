"""Bugs put in on purpose, so that it is known that the harness can find one: `--plant` names it. Never part of the product."""

from __future__ import annotations

from collections.abc import Callable

from protocol import framing
from protocol.errors import FrameError


def special_byte() -> None:
    """Make the frame decoder crash on a frame of type 0x13 whose payload holds 0x7F: reached only behind a CRC that fits."""
    genuine = framing.decode_frame

    def decode_frame(encoded: bytes) -> framing.Frame:
        frame = genuine(encoded)
        if b"\x7f" in frame.payload:
            raise ZeroDivisionError("planted")
        return frame

    framing.decode_frame = decode_frame


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


PLANTED: dict[str, Callable[[], None]] = {"special-byte": special_byte, "lenient-block": lenient_block}
