"""Which sectors the journal goes on with at a start, and with which number."""

from __future__ import annotations

from random import Random

import pytest

from simulator.hardware.faulty_flash import FaultyFlash
from simulator.hardware.flash import MemoryFlash
from tests.device_bench import PaperIdentity
from tests.unit.firmware.test_firmware_journal import SECTOR, collect, damage, is_held, record, recovered, write


def test_what_has_its_receipt_can_still_be_read_after_a_start() -> None:
    flash = MemoryFlash(4)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    write(journal, 75)
    collect(journal, 70)
    journal.idle()
    again = recovered(flash, identity)
    assert (again.oldest_seq, again.receipt_seq) == (1, 71)
    assert record(again, 1).seq == 1


@pytest.mark.parametrize(("covered", "oldest"), [(29, 1), (30, 31)])
def test_a_sector_without_header_counts_as_long_as_one_record_in_it_has_no_receipt(covered: int, oldest: int) -> None:
    flash = MemoryFlash(4)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    write(journal, 40)
    collect(journal, covered)
    journal.idle()
    damage(flash, 8)
    again = recovered(flash, identity)
    assert (again.oldest_seq, again.receipt_seq) == (oldest, covered + 1)
    assert is_held(again, 30) == (oldest == 1)


def test_what_a_dead_sector_shows_of_long_ago_is_no_part_of_the_journal() -> None:
    flash = FaultyFlash(4, Random(1))
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    write(journal, 29)
    flash.bad.append(0)
    while journal.next_seq <= 200:
        if not journal.free():
            collect(journal, journal.first[1] - 1)
        write(journal, 1)
    assert journal.oldest_seq == journal.receipt_seq > 60
    assert recovered(flash, identity).oldest_seq == journal.oldest_seq


class LateFault(MemoryFlash):
    """Flash whose driver reports one header as failed that is there all the same."""

    sector = -1

    def program(self, sector: int, at: int, page: bytearray) -> None:
        super().program(sector, at, page)
        if sector == self.sector and at == 0:
            self.sector = -1
            raise OSError(5)


@pytest.mark.parametrize("collected", [False, True])
def test_a_header_that_failed_and_reads_well_afterwards_is_not_the_newest(collected: bool) -> None:
    flash = LateFault(4)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    last = write(journal, 85)
    collect(journal, last if collected else 35)
    flash.sector = 3  # the next one; then the journal goes on in sector 0
    last = write(journal, 20)
    assert journal.ring[-1] == 0
    again = recovered(flash, identity)
    assert again.next_seq == last + 1
    assert [record(again, seq).seq for seq in range(journal.oldest_seq, last + 1)] == list(range(journal.oldest_seq, last + 1))


def test_the_seal_tells_the_number_when_the_records_before_it_are_gone_too() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    last = write(recovered(flash, identity), 85)
    gone = 256 + 128 * 20
    flash.content[gone:] = b"\xff" * (3 * SECTOR - gone)
    assert recovered(flash, identity).next_seq > last


def test_where_a_blank_header_page_hides_the_seal_a_next_sector_is_allowed_for() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    last = write(recovered(flash, identity), 40)
    flash.content[:256] = b"\xff" * 256
    flash.content[SECTOR : 2 * SECTOR] = b"\xff" * SECTOR
    assert recovered(flash, identity).next_seq > last


def test_a_mark_behind_one_that_was_left_out_counts() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    write(recovered(flash, identity), 5)
    journal = recovered(flash, identity)  # leaves out the first mark, which may only look blank
    collect(journal, 3)
    journal.idle()
    assert flash.content[64:72] == b"\xff" * 8
    assert recovered(flash, identity).receipt_seq == 4


def test_a_number_that_has_a_receipt_is_not_given_again_though_its_record_is_gone() -> None:
    flash = MemoryFlash(3)
    identity = PaperIdentity()
    journal = recovered(flash, identity)
    last = write(journal, 20)
    collect(journal, last)
    journal.idle()
    flash.content[256:SECTOR] = b"\xff" * (SECTOR - 256)
    again = recovered(flash, identity)
    assert (again.next_seq, again.receipt_seq) == (last + 31, last + 1)
    assert again.boot > journal.boot
    assert record(again, write(again, 1)).seq == last + 32
