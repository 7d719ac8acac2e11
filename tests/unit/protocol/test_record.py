"""The journal record and its signature: each way to be no record has its reason, and only a rating is a rating."""

import zlib
from dataclasses import replace

import pytest

from protocol.errors import RecordError
from protocol.levels import Level
from protocol.record import (
    FORMAT,
    RECORD_BYTES,
    SEQ_SPAN,
    SIGNED_BYTES,
    Algorithm,
    Kind,
    Record,
    RecordFlag,
    TimeQuality,
    is_journal_start,
    parse_record,
)
from protocol.signing import ZERO_MAC, sign_record, verify_record

KEY = bytes(range(32))


def record_of(kind: Kind = Kind.RATING, level: int = 4, seq: int = 17) -> Record:
    return sign_record(
        KEY,
        Record(
            format=FORMAT,
            algorithm=Algorithm.HMAC_SHA256_128,
            kind=kind,
            level=level,
            seq=seq,
            boot=3,
            uptime_ms=1000,
            utc_ms=1_767_229_200_000,
            uncertainty_ms=50,
            quality=TimeQuality.SYNCHRONISED,
            flags=RecordFlag(0),
            detail=0,
            refers_to=0,
            value=900,
            evaluation=b"e" * 16,
            context_digest=b"d" * 16,
            staff="S0815",
            prev_mac=b"p" * 16,
            mac=ZERO_MAC,
            crc=0,
        ),
    )


def with_byte(raw: bytes, at: int, value: int) -> bytes:
    """Change one byte and make the CRC right again."""
    body = (raw[:at] + bytes([value]) + raw[at + 1 :])[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def reason_of(raw: bytes) -> str:
    with pytest.raises(RecordError) as caught:
        parse_record(raw)
    return caught.value.reason


RAW = record_of().pack()


def test_a_record_has_its_size_and_comes_back() -> None:
    assert len(RAW) == RECORD_BYTES
    assert parse_record(RAW) == record_of()
    assert record_of().signed == RAW[:SIGNED_BYTES]


@pytest.mark.parametrize("size", [0, 127, 129])
def test_another_size_is_no_record(size: int) -> None:
    assert reason_of(bytes(size)) == "length"


@pytest.mark.parametrize("at", [0, 3, 64, 107, 108, 123, 127])
def test_a_damaged_record_fails_its_crc(at: int) -> None:
    assert reason_of(RAW[:at] + bytes([RAW[at] ^ 1]) + RAW[at + 1 :]) == "crc"


def test_another_format_is_named() -> None:
    assert reason_of(with_byte(RAW, 0, 0x12)) == "format"


@pytest.mark.parametrize(("at", "value"), [(1, 9), (2, 0), (2, 99), (32, 4), (76, 0xFF), (77, 0)])
def test_a_value_outside_its_list_is_named(at: int, value: int) -> None:
    assert reason_of(with_byte(RAW, at, value)) == "value"


@pytest.mark.parametrize("kind", list(Kind))
def test_only_a_press_has_a_level(kind: Kind) -> None:
    pressed = kind in (Kind.RATING, Kind.EXTRA)
    for level in (0, 1, 5, 6, 255):
        raw = with_byte(with_byte(RAW, 2, kind), 3, level)
        if (1 <= level <= 5) if pressed else level == 0:
            assert parse_record(raw).level == level
        else:
            assert reason_of(raw) == "value"


def test_only_a_rating_is_a_rating() -> None:
    assert record_of(Kind.RATING, 2).rating is Level.DISSATISFIED
    assert record_of(Kind.EXTRA, 2).rating is None
    assert record_of(Kind.EXPIRED, 0).rating is None


def test_number_zero_does_not_exist() -> None:
    assert reason_of(record_of(seq=0).pack()) == "value"


def test_journals_start_at_multiples_of_their_span() -> None:
    assert is_journal_start(1)
    assert is_journal_start(SEQ_SPAN + 1)
    assert not is_journal_start(2)
    assert not is_journal_start(SEQ_SPAN)


def test_the_signature_covers_every_field_before_it() -> None:
    verify_record(KEY, record_of(), RAW)
    for at in range(SIGNED_BYTES):
        altered = RAW[:at] + bytes([RAW[at] ^ 1]) + RAW[at + 1 :]
        with pytest.raises(RecordError) as caught:
            verify_record(KEY, record_of(), altered)
        assert caught.value.reason == "mac"


def test_another_key_did_not_sign_it() -> None:
    with pytest.raises(RecordError) as caught:
        verify_record(bytes(32), record_of(), RAW)
    assert caught.value.reason == "mac"


def test_an_algorithm_we_do_not_have_is_named() -> None:
    national = sign_record(KEY, replace(record_of(), algorithm=Algorithm.HMAC_SM3_128))
    with pytest.raises(RecordError) as caught:
        verify_record(KEY, national, national.pack())
    assert caught.value.reason == "algorithm"


def test_signing_ignores_what_stood_in_mac_and_crc() -> None:
    assert sign_record(KEY, replace(record_of(), mac=b"x" * 16, crc=5)) == record_of()


def test_levels_know_their_words() -> None:
    for level in Level:
        assert Level.from_word(level.word) is level
    assert Level.VERY_SATISFIED.chinese == "非常满意"
    assert [level.is_bad for level in sorted(Level)] == [True, True, False, False, False]
    with pytest.raises(ValueError, match="not a level"):
        Level.from_word("good")
