"""The fast reading of a record and the contract's own never disagree."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.quick_parse import quick_parse
from protocol.errors import RecordError
from protocol.record import RECORD_BYTES, Kind, Record, parse_record
from tests.chains import PaperDevice

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
