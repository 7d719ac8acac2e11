"""Frames: what goes in comes out, and each way to be wrong has its reason."""

import zlib

import pytest

from protocol.errors import FrameError
from protocol.framing import (
    MAX_ENCODED_BYTES,
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameDecoder,
    decode_frame,
    encode_frame,
    stuff,
    unstuff,
)

FRAME = Frame(0x13, 0x0102, b"\x00\x03payload\xff")


def reason_of(encoded: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        decode_frame(encoded)
    return caught.value.reason


def test_a_frame_survives_the_line() -> None:
    line = encode_frame(FRAME)
    assert line[0] == line[-1] == 0
    assert decode_frame(line[1:-1]) == FRAME


def test_no_control_byte_is_left_inside() -> None:
    assert min(encode_frame(Frame(0, 0, bytes(range(236))))[1:-1]) >= 5


def test_the_longest_frame_fits_its_limit() -> None:
    for payload in (bytes(MAX_PAYLOAD_BYTES), b"\xff" * MAX_PAYLOAD_BYTES):
        encoded = encode_frame(Frame(0x44, 0xFFFF, payload))[1:-1]
        assert len(encoded) <= MAX_ENCODED_BYTES
        assert decode_frame(encoded).payload == payload


def test_a_payload_that_is_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="payload of 237 bytes"):
        encode_frame(Frame(0x44, 0, bytes(MAX_PAYLOAD_BYTES + 1)))


@pytest.mark.parametrize("correlation", [-1, 0x10000])
def test_a_correlation_that_does_not_fit_is_refused(correlation: int) -> None:
    with pytest.raises(OverflowError):
        encode_frame(Frame(0x44, correlation, b""))


@pytest.mark.parametrize(
    "encoded",
    [b"\x03", b"\x06", b"\x0a", b"\x0f\x41\x02\x05", b"\xff" + b"A" * 49, b"\xff" + b"A" * 50, b"\x05\x00\x05"],
    ids=["control code", "no final zero", "cut short", "control in run", "long run cut", "long run last", "zero inside"],
)
def test_what_no_encoder_makes_is_an_encoding_error(encoded: bytes) -> None:
    assert reason_of(encoded) == "encoding"
    with pytest.raises(FrameError):
        unstuff(encoded)


def test_nothing_at_all_is_an_encoding_error() -> None:
    assert reason_of(b"") == "encoding"


@pytest.mark.parametrize("size", range(7))
def test_a_body_without_room_for_head_and_crc_is_short(size: int) -> None:
    assert reason_of(stuff(b"A" * size)) == "short"


def test_any_flipped_bit_is_found() -> None:
    body = b"\x13\x01\x00abc"
    whole = body + zlib.crc32(body).to_bytes(4, "little")
    for bit in range(8 * len(whole)):
        damaged = (int.from_bytes(whole, "little") ^ 1 << bit).to_bytes(len(whole), "little")
        assert reason_of(stuff(damaged)) == "crc"


def test_more_than_any_frame_is_oversized() -> None:
    assert reason_of(b"A" * (MAX_ENCODED_BYTES + 1)) == "oversized"


def test_the_decoder_drops_what_grew_too_long_once_and_goes_on() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"A" * MAX_ENCODED_BYTES) == []
    (error,) = decoder.feed(b"A" * 5)
    assert isinstance(error, FrameError)
    assert error.reason == "oversized"
    assert decoder.feed(b"A" * 10_000) == []
    assert decoder.held_bytes == 0
    assert decoder.feed(encode_frame(FRAME)) == [FRAME]


def test_the_decoder_reports_damage_and_goes_on() -> None:
    line = encode_frame(FRAME)
    error, frame = FrameDecoder().feed(line[:5] + b"\x02" + line[5:] + line)
    assert isinstance(error, FrameError)
    assert frame == FRAME


def test_delimiters_in_a_row_mean_nothing() -> None:
    assert FrameDecoder().feed(b"\x00\x00\x00") == []
