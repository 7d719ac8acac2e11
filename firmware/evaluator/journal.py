"""The journal: signed records in a ring of flash sectors, oldest first, nothing recycled without a receipt.

Rules that make a power cut harmless: a record counts when its own CRC fits; a slot that is neither blank nor valid is
made void, never used again, and its number is not given again; a sector without a valid header is erased before use; a
sector is sealed once the next one's header stands; before an erase the receipt position is noted and the header retired; the
next sector is erased ahead, when idle; a sector that holds a record without receipt is never erased. `sector.py` is the
layout byte by byte, `recovery.py` the start.
"""

import struct
from binascii import crc32

from . import sector as layout
from . import wire
from .clock import Clock
from .hardware import Flash
from .held import Held
from .identity import Identity
from .recovery import Found
from .session import NOBODY
from .signer import Signer

_TRIES = 4
_TRIES_PER_SECTOR = 2
_TRIES_PER_CALL = 2  # of 400 ms at the worst, and the watchdog waits
_MARKS_KEPT = 4  # marks that only an erase may use: it must not begin before its reason is in flash
_RETIRED = bytes(layout.HEADER_BYTES)
RESERVED = 4
"""Slots that only LOST may use: without its word the collector gives no receipt, and a full journal would stay full."""


class JournalFault(Exception):
    """The flash would not take a record although there was room; the argument is the sector."""


class Journal(Held):
    """Append, read and recycle; `recover` must be called once before anything else."""

    def __init__(self, flash: Flash, identity: Identity, signer: Signer) -> None:
        super().__init__(flash)
        self._identity = identity
        self._signer = signer
        self._page = bytearray(layout.PAGE_BYTES)
        self._bad: list[int] = []
        self._generation = 0
        self._slot = layout.SLOTS
        self._marks = layout.MARKS
        self._marked_seq = 0
        self._spare = -1  # the erased sector that comes next, or -1
        self._waits_for = 0  # no sector can be erased before the receipt position reaches this
        self._prev_mac = bytes(16)
        self._booted = False
        self.boot = 1
        self._record = self.scratch
        self._found: Found | None = None  # until the first write
        self.unreadable = 0
        """Slots at the journal's end that recovery could not read; for a new journal, sectors that held something."""
        self.fault_sector = 0
        """The sector of the last JournalFault."""

    # --- start -----------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Go on where the flash ends; begin a journal where there is none."""
        found = Found(self.flash, self._signer)
        if not found.ring:
            self.unreadable = found.remains
            self._begin()
            return
        self._found = found
        self.unreadable = len(found.torn)
        self.ring, self.first = found.ring, found.first
        self._generation, self._slot, self._marks = found.generation, found.slot, found.marks
        self._prev_mac, self.boot = found.prev_mac, found.boot
        self.oldest_seq, self.next_seq = found.oldest_seq, found.next_seq
        self.receipt_seq = self._marked_seq = found.receipt_seq
        for slot in found.torn:  # what could not be read now shall not be read later, when its number has been passed over
            self.flash.read(self.ring[-1], layout.slot_at(slot), self._record)
            if self._record != layout.VOID:
                layout.program(self.flash, self._page, self.ring[-1], layout.slot_at(slot), layout.VOID)

    def _make_firm(self, found: Found) -> None:
        """Program again what may have been the last thing before a power cut: it reads well today, and shall next year."""
        sector = self.ring[-1]
        if found.last_slot >= 0 and not found.torn:
            self.flash.read(sector, layout.slot_at(found.last_slot), self._record)
            layout.program(self.flash, self._page, sector, layout.slot_at(found.last_slot), self._record)
        elif found.header and found.last_slot < 0 and not found.torn:
            layout.program(self.flash, self._page, sector, 0, found.header.pack())
            if len(self.ring) > 1:
                self._seal(self.ring[-2])

    def _begin(self) -> None:
        number = self._identity.begin_journal()
        self.next_seq = self.oldest_seq = self.receipt_seq = self._marked_seq = number * wire.SEQ_SPAN + 1
        self.boot = (number << 16) + 1
        self._open_sector()  # at once, or the next start would count one journal more

    # --- write -----------------------------------------------------------------------------------------------

    def append(
        self,
        kind: int,
        clock: Clock,
        level: int = 0,
        flags: int = 0,
        detail: int = 0,
        refers_to: int = 0,
        value: int = 0,
        evaluation: bytes = NOBODY,
        digest: bytes = NOBODY,
        staff: bytes = b"",
    ) -> int:
        """Sign one record and program it; return its number once it is durable, 0 when there is no room.

        The first record of every boot is preceded by the boot record. The last slots are LOST's. JournalFault when the
        flash fails.
        """
        if self._found:
            self._make_firm(self._found)
            self._found = None
        reserved = 0 if kind == wire.KIND_LOST else RESERVED
        if not self._leaves(reserved if self._booted else reserved + 1):
            return 0
        if not self._booted:
            new = 0 if any(self._prev_mac) else wire.FLAG_NEW_JOURNAL
            unreadable = min(self.unreadable, 0xFFFF)
            flags_now = flags & wire.FLAG_NO_HOST | new
            # a collection that has lost what it once receipted can believe this signature, and need not wait for it
            if not self._write(wire.KIND_BOOT, clock, 0, flags_now, 0, self.receipt_seq, unreadable, NOBODY, NOBODY, b""):
                return 0
            self._booted = True
        return self._write(kind, clock, level, flags, detail, refers_to, value, evaluation, digest, staff)

    def _write(
        self,
        kind: int,
        clock: Clock,
        level: int,
        flags: int,
        detail: int,
        refers_to: int,
        value: int,
        evaluation: bytes,
        digest: bytes,
        staff: bytes,
    ) -> int:
        if not self._has_slot():
            return self._no_slot()
        utc_ms, uncertainty_ms, quality = clock.utc()
        record = self._record
        wire.pack_record(
            record,
            0,
            wire.RECORD_FORMAT,
            wire.ALGORITHM_HMAC_SHA256_128,
            kind,
            level,
            self.next_seq,
            self.boot,
            clock.uptime_ms(),
            utc_ms,
            uncertainty_ms,
            quality,
            flags,
            detail,
            refers_to,
            value,
            evaluation,
            digest,
            staff,
            self._prev_mac,
        )
        mac = self._signer.mac(memoryview(record)[: wire.SIGNED_BYTES])
        record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC] = mac
        struct.pack_into("<I", record, wire.RECORD_AT_CRC, crc32(memoryview(record)[: wire.RECORD_AT_CRC]))
        for tried in range(1, _TRIES + 1):
            if not self._has_slot():
                return self._no_slot()
            slot = self._slot
            self._slot += 1  # a slot that was tried is never tried again
            self.fault_sector = self.ring[-1]
            if layout.program(self.flash, self._page, self.ring[-1], layout.slot_at(slot), record):
                seq = self.next_seq
                self.next_seq += 1
                self._prev_mac = mac
                return seq
            if tried % _TRIES_PER_SECTOR == 0:
                self._slot = layout.SLOTS  # this sector has had its chance: the next try is in another one
        raise JournalFault(self.fault_sector)

    def _no_slot(self) -> int:
        """Return 0 for a journal that is full; JournalFault for one that has room which the flash does not give."""
        if self._bad or self._left() > RESERVED:
            raise JournalFault(self.fault_sector)
        return 0

    def _has_slot(self) -> bool:
        if self._slot < layout.SLOTS or self._open_sector():
            return True
        if not self._bad or self._left():
            return False
        self._forgive()
        return self._open_sector()

    def _leaves(self, slots: int) -> bool:
        """Tell whether so many slots are left after one more record."""
        if self._slot + slots < layout.SLOTS or self._left() > slots:
            return True
        if self._bad:
            self._forgive()
        return self._left() > slots

    def _forgive(self) -> None:
        """Give bad sectors another chance before somebody is refused: perhaps it was a passing fault."""
        self._bad.clear()
        self._waits_for = 0

    def _open_sector(self) -> bool:
        """Write the header of the next sector; a sector that will not take it is bad, and the one after it is tried."""
        for _ in range(_TRIES_PER_CALL):
            if self._spare < 0 and not self._erase_spare():
                continue
            sector, self._spare = self._spare, -1
            boot = self.boot if self._booted else self.boot - 1
            # counted for a header that fails as well: it may read well one day, and must not be the newest one then
            self._generation += 1
            header = layout.Header(self._generation, self.next_seq, self._prev_mac, self.receipt_seq, boot)
            if layout.program(self.flash, self._page, sector, 0, header.pack()):
                sealed = not self.ring or self._seal(self.ring[-1])
                self.ring.append(sector)
                self.first.append(self.next_seq)
                self._slot = 0
                self._marks, self._marked_seq = 0, self.receipt_seq
                if sealed:
                    return True
                self._slot = layout.SLOTS  # a bridge: it can be sealed where the one before it could not
                continue
            self._give_up(sector)
        return False

    def _seal(self, sector: int) -> bool:
        """Note in a sector that there is a next one: if that should ever be gone, its numbers must not come again."""
        seal = layout.pack_mark(self.next_seq)
        return layout.program(self.flash, self._page, sector, layout.mark_at(layout.MARKS), seal)

    def _give_up(self, sector: int) -> None:
        """Use a sector no more in this boot; after the next one it gets another chance."""
        self._bad.append(sector)
        self.fault_sector = sector

    # --- recycle ---------------------------------------------------------------------------------------------

    def receipt(self, next_seq: int, record_mac: bytes) -> bool:
        """Take a genuine receipt: every record before `next_seq` is collected. False when it does not fit the journal."""
        if next_seq <= self.receipt_seq:
            return True  # an old one, repeated
        if next_seq > self.next_seq:
            return False
        # a record that can no longer be read cannot contradict
        if self.read(next_seq - 1, self._record) and self._record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC] != record_mac:
            return False
        self._cover(next_seq)
        return True

    def release(self, next_seq: int) -> None:
        """Take the host's ack for a receipt, for a device that was provisioned so."""
        if self.receipt_seq < next_seq <= self.next_seq:
            self._cover(next_seq)

    def _cover(self, next_seq: int) -> None:
        self.receipt_seq = next_seq
        if self.oldest_seq < self.first[0]:  # records before the first sector were lost, and that has been heard now
            self.oldest_seq = min(next_seq, self.first[0])

    def idle(self) -> None:
        """Do at most one slow thing: note the receipt position, erase the spare sector, open it when the head is full."""
        if self.receipt_seq > self._marked_seq and self._marks < layout.MARKS - _MARKS_KEPT:
            self._mark()
        elif self._spare < 0 and self._erase_spare():
            return
        elif self._slot >= layout.SLOTS and self._spare >= 0:
            self._open_sector()

    def _erase_spare(self) -> bool:
        """Erase the sector that comes next; False when there is none that may be erased."""
        if self.receipt_seq < self._waits_for:
            return False
        sector = self._next_sector()
        if sector < 0:
            self._waits_for = self.first[1] if len(self.ring) > 1 else self.next_seq + wire.SEQ_SPAN
            return False
        try:
            self.flash.erase(sector)
        except OSError:
            self._give_up(sector)
            return False
        self._spare = sector
        return True

    def _next_sector(self) -> int:
        """Take a sector that holds nothing, else the oldest one if receipts cover all of it; -1 when there is neither."""
        sector = self.ring[-1] if self.ring else self.flash.sectors - 1
        for _ in range(self.flash.sectors):
            sector = (sector + 1) % self.flash.sectors
            if sector not in self.ring and sector not in self._bad:
                return sector
        while len(self.ring) > 1 and self.receipt_seq >= self.first[1]:
            while self.receipt_seq > self._marked_seq and self._marks < layout.MARKS:
                self._mark()
            sector = self.ring.pop(0)
            self.first.pop(0)
            self.oldest_seq = self.first[0]
            if sector not in self._bad:
                # half an erase must not leave a header above records that are gone
                layout.program(self.flash, self._page, sector, 0, _RETIRED)
                return sector
        return -1

    def _mark(self) -> None:
        """Note the receipt position in the newest sector."""
        mark = layout.pack_mark(self.receipt_seq)
        if layout.program(self.flash, self._page, self.ring[-1], layout.mark_at(self._marks), mark):
            self._marked_seq = self.receipt_seq
        self._marks += 1  # what was tried is never tried again

    # --- room --------------------------------------------------------------------------------------------------

    def free(self) -> int:
        """Return how many records can be written before the device must refuse."""
        return max(0, self._left() - RESERVED)

    def _left(self) -> int:
        """Return how many slots are left, the reserved ones included."""
        sectors = self.flash.sectors - len(self.ring)
        for sector in self._bad:
            if sector not in self.ring:
                sectors -= 1
        for place in range(1, len(self.ring)):
            if self.receipt_seq < self.first[place]:
                break
            if self.ring[place - 1] not in self._bad:
                sectors += 1
        return layout.SLOTS - self._slot + layout.SLOTS * sectors

    def has_room(self, records: int) -> bool:
        """Tell whether so many records can be written, the boot record included if it is still due."""
        return self.free() >= (records if self._booted else records + 1)

    def capacity(self) -> int:
        """Return how many records the journal holds at the most."""
        return layout.SLOTS * (self.flash.sectors - len(self._bad))
