"""The journal in flash: its layout, its receipts, and what remains of it after damage."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from random import Random

import pytest

from firmware.evaluator import sector as layout
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.journal import RESERVED, Journal, JournalFault
from firmware.evaluator.sector import read_header
from firmware.evaluator.signer import Signer
from protocol.messages import Condition, Done, Error, ErrorCode, SignIn
from protocol.record import SEQ_SPAN, Kind, LostReason, Record, RecordFlag, parse_record
from protocol.signing import ZERO_MAC, verify_record
from simulator.device.in_process import BenchDevice
from simulator.hardware.faulty_flash import FaultyFlash, PowerCut
from simulator.hardware.flash import MemoryFlash
from tests.device_bench import DEVICE, KEY, Host, PaperIdentity, bench

SECTOR = 4096


def recovered(flash: MemoryFlash, identity: PaperIdentity | None = None) -> Journal:
    journal = Journal(flash, identity or PaperIdentity(), Signer(KEY, DEVICE.encode()))
    journal.recover()
    return journal


def write(journal: Journal, count: int) -> int:
    """Write so many ratings and idle after each, as a device does; return the number of the last."""
    seq = 0
    for n in range(count):
        seq = journal.append(wire.KIND_RATING, Clock(0), level=1 + n % 5)
        assert seq
        journal.idle()
    return seq


def record(journal: Journal, seq: int) -> Record:
    buffer = bytearray(128)
    assert journal.read(seq, buffer)
    found = parse_record(bytes(buffer))
    verify_record(KEY, found, bytes(buffer))
    return found


def is_held(journal: Journal, seq: int) -> bool:
    return journal.read(seq, bytearray(128))


def collect(journal: Journal, seq: int) -> None:
    """Give the receipt that covers `seq`."""
    assert journal.receipt(seq + 1, record(journal, seq).mac)


def test_the_layout_is_the_one_in_the_documents() -> None:
    flash = MemoryFlash(3)
    journal = recovered(flash)
    write(journal, 40)
    collect(journal, 7)
    journal.idle()
    second = flash.content[SECTOR : 2 * SECTOR]
    magic, generation, first_seq, prev_mac, receipt_seq, boot, crc = struct.unpack_from("<8sII16sIII", second)
    assert (magic, generation, first_seq, receipt_seq, boot) == (b"HCPJRNL1", 2, 31, 1, 1)
    assert prev_mac == record(journal, 30).mac
    assert crc == zlib.crc32(second[:40])
    assert second[44:64] == b"\xff" * 20
    position, mark_crc = struct.unpack_from("<II", second, 64)
    assert (position, mark_crc) == (8, zlib.crc32(second[64:68]))
    assert second[72:256] == b"\xff" * 184
    for slot in range(11):
        at = 256 + 128 * slot
        assert parse_record(bytes(second[at : at + 128])) == record(journal, 31 + slot)
    assert second[256 + 128 * 11 :] == b"\xff" * (128 * 19)
    first = flash.content[:SECTOR]
    seal, seal_crc = struct.unpack_from("<II", first, 248)
    assert (seal, seal_crc) == (31, zlib.crc32(first[248:252])), "sealed: the next sector begins with that number"
    assert struct.unpack_from("<8sII16sII", first) == (b"HCPJRNL1", 1, 1, ZERO_MAC, 1, 0)


def test_the_first_record_of_a_boot_is_its_boot_record() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    boots = []
    for _ in range(4):
        journal = recovered(flash, identity)
        seq = write(journal, 12)
        boots.append([record(journal, seq - 12), record(journal, seq)])
    assert [(first.kind, first.boot, last.boot) for first, last in boots] == [(Kind.BOOT, n, n) for n in range(1, 5)]
    assert [first.flags for first, _ in boots] == [RecordFlag.NEW_JOURNAL] + [RecordFlag(0)] * 3


@pytest.mark.parametrize("count", [28, 29, 30, 31])
def test_no_two_boots_share_a_number_wherever_a_sector_ends(count: int) -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    write(journal, count)
    assert recovered(flash, identity).boot == journal.boot + 1


def test_what_was_written_is_there_after_a_restart() -> None:
    flash = MemoryFlash(4)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    last = write(journal, 70)
    before = [record(journal, seq) for seq in range(1, last + 1)]
    again = recovered(flash, identity)
    assert [record(again, seq) for seq in range(1, last + 1)] == before
    assert (again.oldest_seq, again.next_seq, again.receipt_seq) == (1, last + 1, 1)


def test_receipts_move_forward_only() -> None:
    journal = recovered(MemoryFlash(3))
    write(journal, 20)
    mac = record(journal, 10).mac
    assert not journal.receipt(11, ZERO_MAC), "another chain's receipt"
    assert not journal.receipt(11, record(journal, 9).mac)
    assert not journal.receipt(journal.next_seq + 1, record(journal, journal.next_seq - 1).mac), "of the future"
    assert journal.receipt_seq == 1
    assert journal.receipt(11, mac)
    assert journal.receipt(11, mac)
    assert journal.receipt(5, record(journal, 4).mac), "an old one is no error"
    assert journal.receipt_seq == 11


def test_receipts_survive_a_restart_in_marks_and_in_headers() -> None:
    flash = MemoryFlash(4)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    write(journal, 10)
    for seq in (3, 5, 8):
        collect(journal, seq)
        journal.idle()
        assert recovered(flash, identity).receipt_seq == seq + 1
    write(journal, 60)
    assert recovered(flash, identity).receipt_seq == 9


def test_a_full_journal_refuses_and_overwrites_nothing() -> None:
    flash = MemoryFlash(3)
    journal = recovered(flash)
    assert journal.capacity() == 90
    last = write(journal, 89 - RESERVED)
    before = bytes(flash.content)
    for _ in range(5):
        assert journal.append(wire.KIND_RATING, Clock(0), level=1) == 0
        journal.idle()
    assert bytes(flash.content) == before
    assert (journal.free(), last) == (0, 90 - RESERVED)


def test_a_full_journal_still_takes_the_word_that_makes_room_again() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    write(recovered(flash, identity), 89 - RESERVED)
    journal = recovered(flash, identity)
    assert journal.append(wire.KIND_RATING, Clock(0), level=1) == 0
    assert journal.next_seq == 91 - RESERVED, "not even a boot record: it would take what is kept for LOST"
    said = [journal.append(wire.KIND_LOST, Clock(0), refers_to=5, value=1) for _ in range(RESERVED)]
    # one slot is left out after a start, one is the boot record's
    assert said == [92 - RESERVED, 93 - RESERVED, 0, 0]


def test_only_what_has_a_receipt_is_recycled() -> None:
    journal = recovered(MemoryFlash(3))
    write(journal, 89 - RESERVED)
    collect(journal, 29)
    journal.idle()
    assert journal.free() == 0, "the first sector holds record 30, which has none"
    collect(journal, 30)
    assert journal.free() == 30
    write(journal, 30)
    assert (journal.oldest_seq, journal.free()) == (31, 0)
    assert [is_held(journal, seq) for seq in (30, 31, 116)] == [False, True, True]


def test_free_says_exactly_how_many_fit() -> None:
    journal = recovered(MemoryFlash(3))
    write(journal, 50)
    collect(journal, 40)
    free = journal.free()
    write(journal, free)
    assert journal.append(wire.KIND_RATING, Clock(0), level=1) == 0


def test_wear_is_spread_over_all_sectors() -> None:
    flash = MemoryFlash(4)
    erased = []
    journal = recovered(flash)
    erase = flash.erase
    flash.erase = lambda sector: (erased.append(sector), erase(sector))[1]  # type: ignore[method-assign,func-returns-value]  # to count
    for _ in range(600):
        collect(journal, write(journal, 1))
    assert {erased.count(sector) for sector in range(4)} <= {4, 5, 6}


@pytest.mark.parametrize("seed", range(30))
def test_a_torn_last_slot_is_made_void_and_its_number_is_never_given_again(seed: int) -> None:
    flash = FaultyFlash(3, Random(seed))
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    last = write(journal, 5)
    flash.cut_after(0)
    with pytest.raises(PowerCut):
        journal.append(wire.KIND_RATING, Clock(0), level=1)
    flash.restore()
    again = recovered(flash, identity)
    whole = is_held(again, last + 1)
    torn = again.unreadable
    assert again.next_seq == last + 1 + whole + torn, "whole, torn, or never begun"
    assert again.was_cut_short(last + 1) == bool(torn)
    seq = write(again, 3)
    boot = record(again, last + 1 + whole + torn)
    assert (boot.kind, boot.value, boot.prev_mac) == (Kind.BOOT, torn, record(again, last + whole).mac)
    there = [n for n in range(1, seq + 1) if is_held(again, n)]
    assert there == [n for n in range(1, seq + 1) if not torn or n != last + 1]
    at = 256 + 128 * last
    assert not torn or bytes(flash.content[at : at + 128]) == bytes(128)


def damage(flash: MemoryFlash, at: int, count: int = 4) -> None:
    for n in range(count):
        flash.content[at + n] ^= 0x5A


@pytest.mark.parametrize("sector", range(4))
def test_a_damaged_header_costs_no_record_and_no_number(sector: int) -> None:
    flash = MemoryFlash(6)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    last = write(journal, 109)
    collect(journal, 5)
    journal.idle()
    before = [record(journal, seq) for seq in range(1, last + 1)]
    damage(flash, sector * SECTOR + 8)
    again = recovered(flash, identity)
    assert (again.oldest_seq, again.next_seq, identity.journals) == (1, last + 1, 1)
    assert [record(again, seq) for seq in range(1, last + 1)] == before
    seq = write(again, 50)
    assert record(again, last + 1).prev_mac == before[-1].mac
    assert [record(again, n).seq for n in range(1, seq + 1)] == list(range(1, seq + 1))


def test_a_young_journal_whose_only_header_is_damaged_goes_on() -> None:
    flash = MemoryFlash(6)
    identity = PaperIdentity()
    write(recovered(flash, identity), 10)
    damage(flash, 0)
    journal = recovered(flash, identity)
    assert (journal.oldest_seq, journal.next_seq, identity.journals) == (1, 12, 1)
    write(journal, 100)
    assert record(journal, 5).seq == 5


def test_records_of_another_device_are_no_part_of_a_headless_journal() -> None:
    flash = MemoryFlash(6)
    write(recovered(flash), 10)
    damage(flash, 0)
    journal = Journal(flash, PaperIdentity(), Signer(bytes(32), b"PJ-0002"))
    journal.recover()
    assert not is_held(journal, 5)


@pytest.mark.parametrize("damaged", [3, 8, 14, 15])
def test_a_record_damaged_in_the_newest_sector_costs_no_other_and_its_number_is_not_given_again(damaged: int) -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    last = write(recovered(flash, identity), 14)
    damage(flash, 256 + 128 * (damaged - 1) + 50)
    for _ in range(3):
        journal = recovered(flash, identity)
        assert journal.next_seq == last + 1
        assert [seq for seq in range(1, last + 1) if not is_held(journal, seq)] == [damaged]
    write(journal, 1)
    assert record(journal, last + 1).value == (damaged == last), "the boot record counts it as cut short"
    assert journal.was_cut_short(damaged) == (damaged == last)


def test_a_lost_record_is_named_on_the_line_and_in_the_journal_once() -> None:
    device = bench(change_ms=0, rest_ms=10)
    for _ in range(40):
        device.press(0, hold_ms=32)
    damage(device.flash, 256 + 128 * 9 + 50)
    damage(device.flash, 256 + 128 * 10 + 50)
    host = Host(device).join()
    host.listen(600)
    assert [(lost.first_seq, lost.count) for lost in host.unreadable] == [(10, 2)]
    assert [r.seq for r in host.records] == [seq for seq in range(1, 43) if seq not in (10, 11)]
    (lost,) = host.of(Kind.LOST)
    assert (lost.detail, lost.refers_to, lost.value) == (LostReason.DAMAGED, 10, 2)
    host.join()
    host.listen(600)
    assert {record.seq for record in host.of(Kind.LOST)} == {lost.seq}


def test_a_record_lost_after_its_receipt_is_no_loss() -> None:
    device = bench()
    device.press(0)
    host = Host(device).join()
    host.listen(100)
    host.ask(host.receipt(3), Done)
    damage(device.flash, 256 + 50)
    fresh = Host(device).join()
    fresh.listen(200)
    assert [(lost.first_seq, lost.count) for lost in fresh.unreadable] == [(1, 1)]
    assert fresh.of(Kind.LOST) == []


def test_a_lost_journal_goes_on_at_the_next_span() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    write(recovered(flash, identity), 40)
    for expected in (1, 2):
        flash.content[:] = bytes(len(flash.content)) if expected == 1 else b"\xff" * len(flash.content)
        journal = recovered(flash, identity)
        assert (journal.oldest_seq, journal.next_seq) == (expected * SEQ_SPAN + 1,) * 2
        seq = write(journal, 3)
        first = record(journal, expected * SEQ_SPAN + 1)
        assert (first.kind, first.flags, first.prev_mac, first.boot) == (
            Kind.BOOT,
            RecordFlag.NEW_JOURNAL,
            ZERO_MAC,
            (expected << 16) + 1,
        )
        assert first.value == (3 if expected == 1 else 0), "sectors that held something"
        assert recovered(flash, identity).next_seq == seq + 1


def test_power_on_before_the_first_press_uses_up_no_journal() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    for _ in range(5):
        assert recovered(flash, identity).next_seq == 1
    assert identity.journals == 1


@pytest.mark.parametrize("fault", ["bad", "raising"])
@pytest.mark.parametrize("sector", range(5))
def test_a_bad_sector_is_passed_over(fault: str, sector: int) -> None:
    flash = FaultyFlash(5, Random(1))
    getattr(flash, fault).append(sector)
    flash.content[sector * SECTOR : (sector + 1) * SECTOR] = bytes(SECTOR)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    for _ in range(100):
        with suppress(JournalFault):  # a fault costs one press at the most, as the count below shows
            journal.append(wire.KIND_RATING, Clock(0), level=3)
        journal.idle()
    last = journal.next_seq - 1
    assert last >= 95
    assert [record(journal, seq).seq for seq in range(1, last + 1)] == list(range(1, last + 1))
    again = recovered(flash, identity)
    assert [record(again, seq).seq for seq in range(1, last + 1)] == list(range(1, last + 1))


def test_a_sector_that_dies_while_it_is_written_costs_one_try() -> None:
    flash = FaultyFlash(5, Random(1))
    journal = recovered(flash)
    write(journal, 5)
    flash.bad.append(0)
    assert journal.append(wire.KIND_RATING, Clock(0), level=3) == 7, "written to the next sector in the same press"
    assert [record(journal, seq).seq for seq in range(1, 8)] == list(range(1, 8))


def test_a_fault_is_reported_with_its_sector_and_goes_away() -> None:
    flash = FaultyFlash(4, Random(1))
    device = BenchDevice(PaperIdentity(), flash)
    host = Host(device).join()
    host.listen(20)
    flash.raising += [0, 1, 2, 3]
    answer = host.ask(SignIn(staff="017"), Error)
    assert answer.code is ErrorCode.JOURNAL_FAULT
    assert answer.detail in (0, 1, 2, 3)
    device.press(0)
    host.listen(40)
    assert {error.code for error in host.errors} == {ErrorCode.JOURNAL_FAULT}
    assert Condition.JOURNAL_FAULT in host.status().conditions
    host.listen(2000)
    assert device.board.lit == 0b100000
    flash.raising.clear()
    device.press(0)
    host.listen(2000)
    assert Condition.JOURNAL_FAULT not in host.status().conditions
    assert device.board.lit == 0


def test_a_seal_that_a_power_cut_prevented_is_made_good() -> None:
    flash = FaultyFlash(4, Random(1))
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    for _ in range(29):
        journal.append(wire.KIND_RATING, Clock(0), level=3)
    flash.cut_after(2, "none")  # the erase and the header of the second sector are done, the seal of the first is not
    with pytest.raises(PowerCut):
        journal.append(wire.KIND_RATING, Clock(0), level=3)
    flash.restore()
    last = write(recovered(flash, identity), 5)
    assert last == 36
    flash.content[SECTOR : 2 * SECTOR] = b"\xff" * SECTOR
    assert recovered(flash, identity).next_seq > last


class Steady(Random):
    """Weak bits read as what `content` says, or as the opposite, as the test wants."""

    flipped = False

    def randrange(self, *_: int) -> int:  # type: ignore[override]  # one kind of call only
        return 255 if self.flipped else 0


def weaken(flash: FaultyFlash, begin: int, count: int, value: int) -> None:
    """Make bits weak that are `value` (0 or 1) now."""
    for at in range(begin, begin + count):
        flash.weak[at] = (flash.content[at] if value else ~flash.content[at]) & 0x11


@pytest.mark.parametrize("what", ["the newest record", "blank flash behind it", "the newest header"])
def test_what_reads_well_at_a_start_by_luck_reads_well_afterwards(what: str) -> None:
    steady = Steady()
    flash = FaultyFlash(4, steady)
    identity = PaperIdentity()
    last = write(recovered(flash, identity), 29 if what == "the newest header" else 5)
    for _ in range(3):
        if what == "the newest header":
            recovered(flash, identity).idle()
    if what == "the newest record":
        weaken(flash, 256 + 128 * (last - 1), 128, 0)
    elif what == "blank flash behind it":
        weaken(flash, 256 + 128 * last, 128, 1)
    else:
        weaken(flash, SECTOR, 44, 0)
    journal = recovered(flash, identity)
    assert journal.next_seq == last + 1
    seq = write(journal, 5)
    steady.flipped = True
    again = recovered(flash, identity)
    assert again.next_seq == seq + 1
    assert [record(again, n).seq for n in range(1, seq + 1)] == list(range(1, seq + 1))
    if what == "the newest header":
        assert read_header(flash, 1)


def test_a_lost_beginning_stays_in_the_range_until_receipts_have_passed_it() -> None:
    flash = MemoryFlash(6)
    identity = PaperIdentity()
    write(recovered(flash, identity), 104)
    flash.content[:SECTOR] = bytes(SECTOR)
    journal = recovered(flash, identity)
    assert (journal.oldest_seq, journal.receipt_seq, journal.unreadable_from(1, bytearray(128))) == (1, 1, 30)
    assert not is_held(journal, 30)
    assert journal.receipt(11, ZERO_MAC), "nothing is left that could contradict"
    assert (journal.oldest_seq, journal.unreadable_from(11, bytearray(128))) == (11, 20)
    collect(journal, 40)
    assert (journal.oldest_seq, journal.receipt_seq) == (31, 41)


def test_a_sector_that_cannot_be_sealed_is_followed_by_one_that_can() -> None:
    flash = MemoryFlash(6)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    for _ in range(29):
        journal.append(wire.KIND_RATING, Clock(0), level=3)
    damage(flash, 64, 192)
    journal = recovered(flash, identity)
    assert journal.next_seq == 31 + 30 * 5, "whether there was a next sector, nobody can say"
    last = write(journal, 5)
    at = journal.ring[-1] * SECTOR
    flash.content[at : at + SECTOR] = b"\xff" * SECTOR
    assert recovered(flash, identity).next_seq > last


def test_a_start_erases_nothing_that_has_one_record_without_receipt() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    write(journal, 80)
    collect(journal, 29)
    for _ in range(3):
        journal.idle()
    again = recovered(flash, identity)
    assert again.receipt_seq == 30
    for _ in range(3):
        again.idle()
    assert is_held(again, 30)


def test_a_boot_whose_record_is_damaged_keeps_its_number() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    write(recovered(flash, identity), 5)
    journal = recovered(flash, identity)
    write(journal, 1)
    for slot in range(6, layout.SLOTS):
        if flash.content[256 + 128 * slot] != 0xFF:
            damage(flash, 256 + 128 * slot + 50)
    assert recovered(flash, identity).boot > journal.boot


def test_a_mark_that_only_looks_blank_at_a_start_is_left_out() -> None:
    steady = Steady()
    flash = FaultyFlash(3, steady)
    identity = PaperIdentity()
    write(recovered(flash, identity), 5)
    weaken(flash, 64, 8, 1)
    journal = recovered(flash, identity)
    collect(journal, 3)
    journal.idle()
    steady.flipped = True
    assert recovered(flash, identity).receipt_seq == 4
