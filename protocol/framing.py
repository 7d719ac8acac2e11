"""Frames on the serial line: control-free COBS around a CRC-32, between zero bytes.

Plain COBS removes one byte value; ours removes five. 0x00 delimits frames, and 0x01 to 0x04 are the control keys of a
MicroPython prompt: 0x03 would interrupt a device whose program has not yet switched that off, and would throw away
what the device had received. A frame that contains none of them can be sent to a device in any state.

The encoding, for a body of n bytes with one 0x00 appended in thought:

- up to 49 ordinary bytes followed by one of 0x00 to 0x04 become `5 + 5 * count + value`, then those ordinary bytes;
- 50 ordinary bytes in a row become 0xFF, then the 50 bytes, and stand for themselves alone.

So a frame grows by at most 1 + n // 50 bytes. The body is `type u8, correlation u16, payload, crc u32`, little-endian, with
the CRC-32 of zlib over everything before it.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from protocol.errors import FrameError

MAX_PAYLOAD_BYTES: Final = 236
HEAD_BYTES: Final = 3
CRC_BYTES: Final = 4
MAX_BODY_BYTES: Final = HEAD_BYTES + MAX_PAYLOAD_BYTES + CRC_BYTES
MAX_ENCODED_BYTES: Final = MAX_BODY_BYTES + 1 + MAX_BODY_BYTES // 50
DELIMITER: Final = b"\x00"
RESERVED_VALUES: Final = 5
"""Byte values 0 to 4 never occur inside a frame on the line."""
LONGEST_RUN: Final = 50
"""Ordinary bytes in a row that make a block of their own."""
LONG_BLOCK: Final = 0xFF
"""The code of such a block."""

_BLOCK = re.compile(rb"([^\x00-\x04]{0,49})([\x00-\x04])|([^\x00-\x04]{50})", re.DOTALL)
_CODE = [
    [bytes([RESERVED_VALUES + RESERVED_VALUES * count + value]) for value in range(RESERVED_VALUES)]
    for count in range(LONGEST_RUN)
]
_RUN_OF = [max(0, code - RESERVED_VALUES) // RESERVED_VALUES for code in range(256)]
_VALUE_OF = [max(0, code - RESERVED_VALUES) % RESERVED_VALUES for code in range(256)]
_CONTROL = re.compile(rb"[\x00-\x04]")


def _encode_block(block: re.Match[bytes]) -> bytes:
    run, value, long_run = block.groups()
    if long_run is not None:
        return bytes([LONG_BLOCK]) + bytes(long_run)
    return _CODE[len(run)][value[0]] + bytes(run)


def stuff(body: bytes) -> bytes:
    """Return `body` encoded so that no byte below 0x05 is left; at most 1 + n // 50 bytes longer."""
    return _BLOCK.sub(_encode_block, body + b"\x00")


def unstuff(encoded: bytes) -> bytes:
    """Undo `stuff`; FrameError("encoding") for anything that `stuff` cannot have made."""
    control = _CONTROL.search(encoded)
    if control is not None:
        raise FrameError("encoding", f"byte 0x{control[0][0]:02x} inside a frame at offset {control.start()}")
    # where a block's code was, the block before it ends: there its value goes, and nothing after 50 ordinary bytes
    body = bytearray(encoded)
    empty: list[int] = []
    at, end, code = 0, len(encoded), LONG_BLOCK
    while at < end:
        code = encoded[at]
        at += 1 + _RUN_OF[code]
        if at < end:
            body[at] = _VALUE_OF[code]
            if code == LONG_BLOCK:
                empty.append(at)
    if at != end or code == LONG_BLOCK or _VALUE_OF[code]:
        raise FrameError("encoding", "the last block is cut short, or is not that of the appended zero")
    for place in reversed(empty):
        del body[place]
    return bytes(body[1:])


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame taken off the line: message type, correlation id and undecoded payload."""

    type: int
    correlation: int
    payload: bytes


def encode_frame(frame: Frame) -> bytes:
    """Return the frame as bytes for the line, delimiters on both sides.

    The leading delimiter closes whatever noise came before. ValueError when a field does not fit.
    """
    if len(frame.payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload of {len(frame.payload)} bytes, the most is {MAX_PAYLOAD_BYTES}")
    body = bytes([frame.type]) + frame.correlation.to_bytes(2, "little") + frame.payload
    body += zlib.crc32(body).to_bytes(CRC_BYTES, "little")
    return DELIMITER + stuff(body) + DELIMITER


def decode_frame(encoded: bytes) -> Frame:
    """Take one frame apart, given the bytes between two delimiters; FrameError says what is wrong."""
    if len(encoded) > MAX_ENCODED_BYTES:
        raise FrameError("oversized", f"{len(encoded)} bytes without a delimiter, the most is {MAX_ENCODED_BYTES}")
    body = unstuff(encoded)
    if len(body) < HEAD_BYTES + CRC_BYTES:
        raise FrameError("short", f"a body of {len(body)} bytes is too short for a frame")
    if zlib.crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
        raise FrameError("crc", "the CRC-32 does not match")
    return Frame(body[0], body[1] | body[2] << 8, body[HEAD_BYTES:-CRC_BYTES])


class FrameDecoder:
    """Finds frames in any stream of bytes, in bounded memory.

    Call `feed` with whatever arrived; it returns the frames and errors in the order in which they ended. Bytes before the
    first delimiter, line noise and frames that grew too long are dropped up to the next delimiter and counted once.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False

    @property
    def held_bytes(self) -> int:
        """Bytes kept of a frame that has not ended; never more than MAX_ENCODED_BYTES."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame | FrameError]:
        """Return every frame or error that `data` completes."""
        out: list[Frame | FrameError] = []
        *ended, rest = data.split(DELIMITER)
        for piece in ended:
            self._take(piece, out)
            if self._skipping:
                self._skipping = False
            elif self._held:
                try:
                    out.append(decode_frame(bytes(self._held)))
                except FrameError as error:
                    out.append(error)
            self._held.clear()
        self._take(rest, out)
        return out

    def _take(self, piece: bytes, out: list[Frame | FrameError]) -> None:
        if self._skipping:
            return
        if len(self._held) + len(piece) > MAX_ENCODED_BYTES:
            out.append(FrameError("oversized", f"more than {MAX_ENCODED_BYTES} bytes without a delimiter"))
            self._held.clear()
            self._skipping = True
            return
        self._held += piece
