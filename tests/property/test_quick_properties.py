"""The fast ways of reading and writing and the contract's own never disagree."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.evidence import Evidence
from collector.ingest.verify import Verifier
from protocol.errors import RecordError
from protocol.payloads import Case, Reckoned, RecordEvent
from protocol.quick_event import read_event, write_event
from protocol.quick_record import quick_parse
from protocol.record import RECORD_BYTES, Kind, Record, RecordFlag, TimeQuality, parse_record
from protocol.signing import context_digest, sign_record
from tests.chains import CASE, EPOCH_MS, EVALUATION, HALL_KEY, WINDOW, PaperDevice

BITS = [b'"', b",", b"0", b" ", b"\\u0030", b"{", b"}", b"null", b"true", b'"case":{},', b"\x00", b"\xff"]
GOOD = [record.pack() for device in [PaperDevice()] for record in [*device.write_many(3), device.write(Kind.LOST)]]


def outcome(parse: object, raw: bytes) -> Record | str:
    assert callable(parse)
    try:
        record = parse(raw)
    except RecordError as error:
        return error.reason
    assert isinstance(record, Record)
    return record


@given(
    good=st.sampled_from(GOOD),
    changes=st.lists(st.tuples(st.integers(0, RECORD_BYTES - 5), st.integers(0, 255)), max_size=6),
    crc_fits=st.booleans(),
    cut=st.sampled_from([0, 0, 0, 1]),
)
def test_both_say_the_same(good: bytes, changes: list[tuple[int, int]], crc_fits: bool, cut: int) -> None:
    raw = bytearray(good)
    for at, value in changes:
        raw[at] = value
    if crc_fits:
        raw[-4:] = zlib.crc32(bytes(raw[:-4])).to_bytes(4, "little")
    changed = bytes(raw[: len(raw) - cut])
    quick, exact = outcome(quick_parse, changed), outcome(parse_record, changed)
    assert quick == exact
    if isinstance(quick, Record) and isinstance(exact, Record):
        assert quick.pack() == exact.pack() == changed
        assert [type(value) for value in vars(quick).values()] == [type(value) for value in vars(exact).values()]
        assert hash(quick) == hash(exact)


# --- events ------------------------------------------------------------------------------------------------------

CASES = st.builds(
    Case, case_no=st.text(min_size=1, max_size=20), item_name=st.none() | st.just("户口登记") | st.text(min_size=1, max_size=5)
)
STAFF = st.sampled_from(["", "017", "A_b-9"]) | st.text(max_size=5).filter(
    lambda text: "\x00" not in text and len(text.encode()) <= 16
)
NUMBERS = st.integers(0, 0xFFFFFFFF)


@st.composite
def signed(draw: st.DrawFn) -> tuple[Record, Case | None]:
    """A genuine record with anything in it, and perhaps the case that it was signed for."""
    kind = draw(st.sampled_from(Kind))
    case = draw(st.none() | CASES)
    evaluation = draw(st.sampled_from([bytes(16), EVALUATION]))
    record = replace(
        PaperDevice().write(kind),
        level=draw(st.integers(1, 5)) if kind in (Kind.RATING, Kind.EXTRA) else 0,
        seq=draw(st.integers(1, 0xFFFFFFFF)),
        utc_ms=draw(st.integers(0, (1 << 64) - 1)),
        uncertainty_ms=draw(NUMBERS),
        quality=draw(st.sampled_from(TimeQuality)),
        flags=RecordFlag(draw(st.integers(0, 255))),
        refers_to=draw(NUMBERS),
        staff=draw(STAFF),
        evaluation=evaluation,
        context_digest=context_digest(evaluation, case.fields()) if case else bytes(16),
    )
    return sign_record(PaperDevice().key, record), case


reckonings = st.none() | st.builds(
    Reckoned,
    at_ms=st.none() | st.integers(0, 1 << 50),
    uncertainty_ms=st.none() | st.integers(0, 0xFFFFFFFF),
    quality=st.sampled_from(["fitted", "estimated", "unknown"]),
    clock_jumped=st.booleans(),
)


@given(
    made=signed(),
    received_ms=st.integers(0, 1 << 50) | st.sampled_from([0, 999, EPOCH_MS]),
    historical=st.booleans(),
    reckoned=reckonings,
)
def test_an_event_is_written_as_the_model_writes_it(
    made: tuple[Record, Case | None], received_ms: int, historical: bool, reckoned: Reckoned | None
) -> None:
    record, case = made
    reckoned_json = reckoned.to_json().decode() if reckoned else None
    case_json = case.to_json().decode() if case else None
    quick = write_event(WINDOW.path, "PJ-0001", record, record.pack(), received_ms, case_json, historical, reckoned_json)
    if received_ms < 10**14 and record.staff in ("", "017"):
        assert quick is not None
    if quick is not None:
        model = RecordEvent.of(WINDOW.path, "PJ-0001", record, record.pack(), received_ms, case, historical, reckoned)
        assert quick == model.to_json()


@given(made=signed(), reckoned=reckonings, data=st.data())
def test_what_is_taken_for_ordinary_is_what_an_examination_finds(
    made: tuple[Record, Case | None], reckoned: Reckoned | None, data: st.DataObject
) -> None:
    record, case = made
    payload = RecordEvent.of(WINDOW.path, "PJ-0001", record, record.pack(), EPOCH_MS, case, False, reckoned).to_json()
    for _ in range(data.draw(st.integers(0, 2))):
        begin = data.draw(st.integers(0, len(payload)))
        end = min(len(payload), begin + data.draw(st.integers(0, 3)))
        other = data.draw(st.sampled_from(BITS) | st.binary(max_size=3))
        payload = payload[:begin] + other + payload[end:]
    verifier = Verifier({"533103/dating": HALL_KEY})
    event = read_event(payload)
    ordinary = verifier._ordinary(WINDOW, event) if event is not None else None
    if ordinary is not None:
        assert ordinary == verifier._examine(WINDOW, "topic", payload)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seq":1,', b'"seq":01,'),
        (b'"seq":1,', b'"seq":2,'),
        (b'"id":"PJ-0001/1"', b'"id":"PJ-0001/2"'),
        (b'"id":"PJ-0001/1"', b'"id":"PJ-0002/1"'),
        (b"533103/dating/07", b"533103/dating/08"),
        (b'"device":"PJ-0001"', b'"device":"PJ-0002"'),
        (b'"level":"very_satisfied"', b'"level":"satisfied"'),
        (b'"time_quality":"synchronised"', b'"time_quality":"stale"'),
        (b'"free_standing":false', b'"free_standing":true'),
        (b'"staff":"017"', b'"staff":"018"'),
        (b'"case_no":"533103-2026-0001"', b'"case_no":"533103-2026-0002"'),
        (b'"case":{', b'"case":{"name":"x",'),
        (b"1.0", b"1.1"),
    ],
)
def test_what_contradicts_the_signed_record_is_never_ordinary(old: bytes, new: bytes) -> None:
    device = PaperDevice()
    record = device.write(evaluation=EVALUATION, case=CASE)
    payload = device.event(record, CASE).to_json()
    assert payload.count(old) >= 1
    verifier = Verifier({"533103/dating": HALL_KEY})
    event = read_event(payload)
    assert event is not None
    assert verifier._ordinary(WINDOW, event) is not None
    changed = read_event(payload.replace(old, new, 1))
    assert changed is None or verifier._ordinary(WINDOW, changed) is None
    verdict = verifier.verdict(WINDOW, "topic", payload.replace(old, new, 1))
    assert isinstance(verdict, Evidence) or verdict.doubt is not None
