"""One sector: what counts as a header, a mark, a seal, a record, and what is told of programming them."""

from __future__ import annotations

from binascii import crc32
from random import Random

import pytest

from firmware.evaluator import sector as layout
from firmware.evaluator import wire
from simulator.hardware.faulty_flash import FaultyFlash
from simulator.hardware.flash import MemoryFlash

SECTOR = 1
AT = SECTOR * layout.SECTOR_BYTES


@pytest.fixture
def flash() -> FaultyFlash:
    return FaultyFlash(3, Random(1))


def put(flash: MemoryFlash, at: int, data: bytes | bytearray) -> bool:
    return layout.program(flash, bytearray(b"\x5a" * layout.PAGE_BYTES), SECTOR, at, data)


@pytest.mark.parametrize("at", [0, 7, 8, 12, 16, 31, 32, 36, 40, 43])
def test_a_header_with_one_wrong_bit_is_none(flash: FaultyFlash, at: int) -> None:
    assert put(flash, 0, layout.Header(7, 31, bytes(range(16)), 9, 3).pack())
    header = layout.read_header(flash, SECTOR)
    assert header
    found = (header.generation, header.first_seq, header.prev_mac, header.receipt_seq, header.boot)
    assert found == (7, 31, bytes(range(16)), 9, 3)
    flash.content[AT + at] ^= 0x10
    assert layout.read_header(flash, SECTOR) is None


def test_another_thing_whose_crc_fits_is_no_header(flash: FaultyFlash) -> None:
    raw = layout.Header(7, 31, bytes(16), 9, 3).pack()
    raw[7] ^= 1
    raw[40:] = crc32(raw[:40]).to_bytes(4, "little")
    assert put(flash, 0, raw)
    assert layout.read_header(flash, SECTOR) is None


def test_the_highest_mark_that_fits_its_crc_counts_wherever_it_is(flash: FaultyFlash) -> None:
    assert layout.read_marks(flash, SECTOR) == (0, 0)
    for n, position in ((1, 9), (3, 5)):
        assert put(flash, layout.mark_at(n), layout.pack_mark(position))
    assert layout.read_marks(flash, SECTOR) == (4, 9)
    wrong = layout.pack_mark(70)
    wrong[0] ^= 1
    assert put(flash, layout.mark_at(5), wrong)
    assert layout.read_marks(flash, SECTOR) == (6, 9), "used up, and says nothing"
    assert put(flash, layout.mark_at(layout.MARKS - 1), layout.pack_mark(20))
    assert put(flash, layout.mark_at(layout.MARKS), layout.pack_mark(31))
    assert layout.read_marks(flash, SECTOR) == (layout.MARKS, 20), "the seal is no mark"


def test_a_seal_is_blank_or_fits_its_crc_or_cannot_be_read(flash: FaultyFlash) -> None:
    assert layout.read_seal(flash, SECTOR) == 0
    assert put(flash, layout.mark_at(layout.MARKS), layout.pack_mark(31))
    assert layout.read_seal(flash, SECTOR) == 31
    flash.content[AT + 248] ^= 1
    assert layout.read_seal(flash, SECTOR) == -1


def test_a_record_has_its_format_and_its_crc() -> None:
    slot = bytearray(wire.RECORD_BYTES)
    assert not layout.is_record(slot)
    slot[0] = wire.RECORD_FORMAT
    assert not layout.is_record(slot)
    slot[124:] = crc32(slot[:124]).to_bytes(4, "little")
    assert layout.is_record(slot)
    slot[0] ^= 0x80
    slot[124:] = crc32(slot[:124]).to_bytes(4, "little")
    assert not layout.is_record(slot), "of another format"


@pytest.mark.parametrize("at", [0, 64, 127])
def test_a_slot_with_one_programmed_bit_is_not_blank(at: int) -> None:
    slot = bytearray(b"\xff" * wire.RECORD_BYTES)
    assert layout.is_blank(slot)
    slot[at] = 0x7F
    assert not layout.is_blank(slot)


def test_the_slots_fill_the_sector_behind_the_first_page() -> None:
    assert [layout.slot_at(slot) for slot in (0, 1, 29)] == [256, 384, 3968]
    assert layout.slot_at(layout.SLOTS) == layout.SECTOR_BYTES


def test_programming_leaves_the_rest_of_the_page_alone(flash: FaultyFlash) -> None:
    assert put(flash, layout.slot_at(1), bytes(128))
    assert flash.content[AT : AT + 384] == b"\xff" * 384
    assert flash.content[AT + 384 : AT + 512] == bytes(128)
    assert flash.content[AT + 512 :] == b"\xff" * (len(flash.content) - AT - 512)


@pytest.mark.parametrize("at", [0, 127])
def test_what_does_not_read_back_was_not_programmed(flash: FaultyFlash, at: int) -> None:
    flash.content[AT + layout.slot_at(1) + at] = 0xFE
    assert not put(flash, layout.slot_at(1), b"\x01" * 128)


@pytest.mark.parametrize("fault", ["bad", "raising"])
def test_a_sector_that_takes_nothing_is_told(flash: FaultyFlash, fault: str) -> None:
    getattr(flash, fault).append(SECTOR)
    assert not put(flash, layout.slot_at(1), bytes(128))
