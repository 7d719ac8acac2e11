"""Frames over any line: whatever is thrown at the decoder, it stays small, never raises and finds the next good frame."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import FrameError
from protocol.framing import (
    MAX_BODY_BYTES,
    MAX_ENCODED_BYTES,
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameDecoder,
    decode_frame,
    encode_frame,
    stuff,
    unstuff,
)

# uniform bytes hardly ever hold 50 ordinary ones in a row or several control bytes, so both are drawn on purpose
runs = st.one_of(
    st.binary(max_size=60), st.integers(0, 255).flatmap(lambda b: st.integers(0, 120).map(lambda n: bytes([b]) * n))
)
bodies = st.lists(runs, max_size=6).map(lambda parts: b"".join(parts)[:MAX_BODY_BYTES])
frames = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    bodies.map(lambda body: body[:MAX_PAYLOAD_BYTES]),
)
noises = st.one_of(st.binary(max_size=400), st.lists(runs, max_size=20).map(b"".join))


def told(found: list[Frame | FrameError]) -> list[Frame | str]:
    return [item.reason if isinstance(item, FrameError) else item for item in found]


@given(bodies)
def test_stuffing_round_trip(body: bytes) -> None:
    encoded = stuff(body)
    assert unstuff(encoded) == body
    assert min(encoded) >= 5
    assert len(encoded) <= len(body) + 1 + len(body) // 50


@given(noises)
def test_unstuffing_takes_only_what_stuffing_makes(encoded: bytes) -> None:
    try:
        again = stuff(unstuff(encoded))
    except FrameError as error:
        again, reason = encoded, error.reason
    else:
        reason = "encoding"
    assert (again, reason) == (encoded, "encoding")


@given(frames)
def test_frame_round_trip(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame)[1:-1]) == frame


@given(noises)
def test_any_bytes_between_delimiters_are_a_frame_or_an_error(noise: bytes) -> None:
    reason = "none"
    try:
        decode_frame(noise)
    except FrameError as error:
        reason = error.reason
    assert reason in ("none", "encoding", "short", "crc", "oversized")


@given(st.lists(noises, max_size=8))
def test_the_decoder_never_raises_and_stays_small(chunks: list[bytes]) -> None:
    decoder = FrameDecoder()
    for chunk in chunks:
        decoder.feed(chunk)
        assert decoder.held_bytes <= MAX_ENCODED_BYTES


@given(st.lists(st.one_of(frames.map(encode_frame), noises), max_size=6), st.data())
def test_any_split_of_a_stream_gives_the_same(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    whole = told(FrameDecoder().feed(stream))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = FrameDecoder()
    found: list[Frame | FrameError] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:end])
    assert told(found) == whole
    decoder = FrameDecoder()
    assert told([item for byte in stream for item in decoder.feed(bytes([byte]))]) == whole


@given(noises, st.lists(frames, min_size=1, max_size=4))
def test_noise_before_a_frame_never_loses_a_later_frame(noise: bytes, sent: list[Frame]) -> None:
    found = FrameDecoder().feed(noise + b"".join(encode_frame(frame) for frame in sent))
    assert [item for item in found if isinstance(item, Frame)][-len(sent) :] == sent


@given(st.lists(frames, min_size=2, max_size=5), st.data())
def test_a_damaged_byte_costs_at_most_the_frame_it_hits(sent: list[Frame], data: st.DataObject) -> None:
    lines = [bytearray(encode_frame(frame)) for frame in sent]
    hit = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(1, len(lines[hit]) - 2))
    lines[hit][at] ^= data.draw(st.integers(1, 255))
    got = [item for item in FrameDecoder().feed(b"".join(lines)) if isinstance(item, Frame)]
    assert got == sent[:hit] + sent[hit + 1 :]
