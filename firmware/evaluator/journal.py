"""The journal: signed records in a ring of flash sectors, oldest first, nothing recycled without a receipt.

A sector of 4096 bytes is a header page and 30 records of 128 bytes. The header page holds a 44-byte header (magic, generation,
number of the first record, the MAC before it, receipt position, boot, CRC) and room for 24 receipt marks, written into
blank bytes without an erase. Flash is programmed in pages of 256 bytes and only ever clears bits.

Rules that make a power cut harmless: a record counts when its own CRC fits; a slot that is neither blank nor valid is
skipped and never used again; a sector without a valid header is erased before use; the next sector is erased ahead, when
idle; a sector that holds a record without receipt is never erased. `firmware/README.md` shows the layout byte by byte.
"""

import struct
from binascii import crc32

from . import wire
from .clock import Clock
from .hardware import Flash
from .identity import Identity
from .session import NOBODY
from .signer import Signer

SECTOR_BYTES = 4096
PAGE_BYTES = 256
RECORDS_PER_SECTOR = 30
_MAGIC = b"HCPJRNL1"
_HEADER = "<8sII16sIII"  # magic, generation, first_seq, prev_mac, receipt_seq, boot, crc
_HEADER_BYTES = 44
_CRC_AT = 40
_MARKS_AT = 64
_MARKS = 24
_MARK_BYTES = 8
_TRIES = 3


class JournalFault(Exception):
    """The flash would not take a record although there was room; the argument is the sector."""


class Journal:
    """Append, read and recycle; `recover` must be called once before anything else."""

    def __init__(self, flash: Flash, identity: Identity, signer: Signer) -> None:
        self._flash = flash
        self._identity = identity
        self._signer = signer
        self._page = bytearray(PAGE_BYTES)
        self._record = bytearray(wire.RECORD_BYTES)
        self._ring: list[int] = []  # sectors in use, oldest first; the last one is being written
        self._first: list[int] = []  # number of the first record of each of them
        self._bad: list[int] = []
        self._generation = 0
        self._slot = RECORDS_PER_SECTOR
        self._marks = 0
        self._marked_seq = 0
        self._spare = -1  # the erased sector that comes next, or -1
        self._prev_mac = bytes(16)
        self._booted = False
        self._hole = (0, 0)  # numbers that recovery found to be lost: first and count
        self.boot = 1
        self.oldest_seq = self.next_seq = self.receipt_seq = 1
        self.unreadable = 0
        """Slots found at recovery that hold neither a record nor blank flash."""

    # --- start -----------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Find the head by its header and the end by scanning its slots; begin a journal where there is none."""
        headers = [self._read_header(sector) for sector in range(self._flash.sectors)]
        by_generation = {header[1]: sector for sector, header in enumerate(headers) if header[1]}
        if not by_generation:
            self._begin()
            return
        self._generation = generation = max(by_generation)
        while generation in by_generation:  # what is older than a break has been recycled
            sector = by_generation[generation]
            self._ring.insert(0, sector)
            self._first.insert(0, headers[sector][2])
            generation -= 1
        head = headers[self._ring[-1]]
        self.oldest_seq = self._first[0]
        self.next_seq, self._prev_mac, self.boot = head[2], head[3], head[5] + 1
        self.receipt_seq = head[4]
        self._read_marks()
        self._scan_head()
        self._keep_numbers_unique([sector for sector, header in enumerate(headers) if not header[1]])
        self.receipt_seq = self._marked_seq = min(max(self.receipt_seq, self.oldest_seq), self.next_seq)

    def _begin(self) -> None:
        number = self._identity.begin_journal()
        self.next_seq = self.oldest_seq = self.receipt_seq = number * wire.SEQ_SPAN + 1
        self.boot = (number << 16) + 1
        for sector in range(self._flash.sectors):
            if not self._is_blank(sector):
                self.unreadable += 1
        self._erase_spare()

    def _scan_head(self) -> None:
        record = self._record
        self._slot = 0
        for slot in range(RECORDS_PER_SECTOR):
            self._flash.read(self._ring[-1], _slot_at(slot), record)
            if _blank(record):
                continue
            if _valid(record) and _u32(record, wire.RECORD_AT_SEQ) == self.next_seq:
                self._follow(record)
            else:
                self.unreadable += 1
            self._slot = slot + 1

    def _follow(self, record: bytearray) -> None:
        self.next_seq = _u32(record, wire.RECORD_AT_SEQ) + 1
        self._prev_mac = bytes(record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC])
        self.boot = _u32(record, wire.RECORD_AT_BOOT) + 1

    def _keep_numbers_unique(self, headless: list[int]) -> None:
        """Continue after any record in a sector whose header can no longer be read: a number never comes twice."""
        expected = self.next_seq
        for sector in headless:
            for slot in range(RECORDS_PER_SECTOR):
                self._flash.read(sector, _slot_at(slot), self._record)
                if _valid(self._record) and _u32(self._record, wire.RECORD_AT_SEQ) >= self.next_seq:
                    self._follow(self._record)
        if self.next_seq > expected:
            self._slot = RECORDS_PER_SECTOR  # the head ends before the hole: go on in a new sector
            self._hole = (expected, self.next_seq - expected)

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

        The first record of every boot is preceded by the boot record. JournalFault when the flash fails.
        """
        if not self._booted:
            new = 0 if any(self._prev_mac) else wire.FLAG_NEW_JOURNAL
            unreadable = min(self.unreadable, 0xFFFF)
            if not self._write(
                wire.KIND_BOOT, clock, 0, flags & wire.FLAG_NO_HOST | new, 0, 0, unreadable, NOBODY, NOBODY, b""
            ):
                return 0
            self._booted = True
        if self._hole[1]:
            if not self._write(wire.KIND_LOST, clock, 0, 0, 0, self._hole[0], self._hole[1], NOBODY, NOBODY, b""):
                return 0
            self._hole = (0, 0)
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
            return 0
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
        for _ in range(_TRIES):
            if not self._has_slot():
                return 0
            slot = self._slot
            self._slot += 1  # a slot that was tried is never tried again
            if self._program(self._ring[-1], _slot_at(slot), record):
                seq = self.next_seq
                self.next_seq += 1
                self._prev_mac = mac
                return seq
        raise JournalFault(self._ring[-1])

    def _has_slot(self) -> bool:
        return self._slot < RECORDS_PER_SECTOR or self._open_sector()

    def _open_sector(self) -> bool:
        """Write the header of the next sector; a sector that will not take it is bad, and the one after it is tried."""
        while self._spare >= 0 or self._erase_spare():
            sector, self._spare = self._spare, -1
            header = bytearray(_HEADER_BYTES)
            fields = (_MAGIC, self._generation + 1, self.next_seq, self._prev_mac, self.receipt_seq, self.boot - 1)
            struct.pack_into(_HEADER, header, 0, *fields, 0)
            struct.pack_into("<I", header, _CRC_AT, crc32(memoryview(header)[:_CRC_AT]))
            if self._program(sector, 0, header):
                self._ring.append(sector)
                self._first.append(self.next_seq)
                self._generation += 1
                self._slot = 0
                self._marks, self._marked_seq = 0, self.receipt_seq
                return True
            self._bad.append(sector)
        return False

    def _program(self, sector: int, at: int, data: bytearray) -> bool:
        """Program `data` at `at` inside one page and read it back; the rest of the page keeps its bits."""
        page = self._page
        for n in range(PAGE_BYTES):
            page[n] = 0xFF
        begin = at % PAGE_BYTES
        page[begin : begin + len(data)] = data
        self._flash.program(sector, at - begin, page)
        check = memoryview(page)[: len(data)]
        self._flash.read(sector, at, check)
        return check == data

    # --- recycle ---------------------------------------------------------------------------------------------

    def receipt(self, next_seq: int, record_mac: bytes) -> bool:
        """Take a genuine receipt: every record before `next_seq` is collected. False when it does not fit the journal."""
        if next_seq <= self.receipt_seq:
            return True  # an old one, repeated
        if not self.read(next_seq - 1, self._record):
            return False
        if self._record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC] != record_mac:
            return False
        self.receipt_seq = next_seq
        return True

    def release(self, next_seq: int) -> None:
        """Take the host's ack for a receipt, for a device that was provisioned so."""
        if self.receipt_seq < next_seq <= self.next_seq:
            self.receipt_seq = next_seq

    def idle(self) -> None:
        """Do at most one slow thing: erase the spare sector, open it when the head is full, or note the receipt position."""
        if self._spare < 0 and self._erase_spare():
            return
        if self._slot >= RECORDS_PER_SECTOR:
            self._open_sector()
        elif self.receipt_seq > self._marked_seq:
            self._mark()

    def _erase_spare(self) -> bool:
        sector = self._ring[-1] if self._ring else self._flash.sectors - 1
        for _ in range(self._flash.sectors):
            sector = (sector + 1) % self._flash.sectors
            if sector not in self._bad:
                break
        if sector in self._bad or (self._ring and sector == self._ring[-1]):
            return False
        if sector in self._ring:  # then it is the oldest, for the ring is written round and round
            if self.receipt_seq < self._first[1]:
                return False
            self._ring.pop(0)
            self._first.pop(0)
            self.oldest_seq = self._first[0]
        self._flash.erase(sector)
        self._spare = sector
        return True

    def _mark(self) -> None:
        self._marked_seq = self.receipt_seq  # also when no room is left: the next sector's header will carry it
        if self._marks < _MARKS:
            mark = bytearray(_MARK_BYTES)
            struct.pack_into("<I", mark, 0, self.receipt_seq)
            struct.pack_into("<I", mark, 4, crc32(memoryview(mark)[:4]))
            self._program(self._ring[-1], _MARKS_AT + self._marks * _MARK_BYTES, mark)
            self._marks += 1

    # --- read ------------------------------------------------------------------------------------------------

    def read(self, seq: int, buffer: bytearray | memoryview) -> bool:
        """Fill `buffer` (128 bytes) with record `seq`; False when it is not held or can no longer be read."""
        if not self.oldest_seq <= seq < self.next_seq:
            return False
        place = len(self._first) - 1
        while self._first[place] > seq:
            place -= 1
        # a record is at its number's slot, or further on by as many slots as were skipped before it
        for slot in range(seq - self._first[place], RECORDS_PER_SECTOR):
            self._flash.read(self._ring[place], _slot_at(slot), buffer)
            if _valid(buffer) and _u32(buffer, wire.RECORD_AT_SEQ) == seq:
                return True
        return False

    def free(self) -> int:
        """Return how many records can be written before the device must refuse."""
        free_sectors = self._flash.sectors - len(self._bad) - len(self._ring)
        for after in self._first[1:]:
            if self.receipt_seq < after:
                break
            free_sectors += 1
        return RECORDS_PER_SECTOR - self._slot + RECORDS_PER_SECTOR * free_sectors

    def capacity(self) -> int:
        """Return how many records the journal holds at the most."""
        return RECORDS_PER_SECTOR * (self._flash.sectors - len(self._bad))

    def _read_header(self, sector: int) -> tuple[bytes, int, int, bytes, int, int, int]:
        """Return the header's fields; generation 0 for what is no header."""
        header = bytearray(_HEADER_BYTES)
        self._flash.read(sector, 0, header)
        fields = struct.unpack_from(_HEADER, header, 0)
        if fields[0] != _MAGIC or fields[6] != crc32(memoryview(header)[:_CRC_AT]):
            return b"", 0, 0, b"", 0, 0, 0
        return fields

    def _read_marks(self) -> None:
        mark = bytearray(_MARK_BYTES)
        for n in range(_MARKS):
            self._flash.read(self._ring[-1], _MARKS_AT + n * _MARK_BYTES, mark)
            if _blank(mark):
                break
            self._marks = n + 1
            if _u32(mark, 4) == crc32(memoryview(mark)[:4]):
                self.receipt_seq = max(self.receipt_seq, _u32(mark, 0))

    def _is_blank(self, sector: int) -> bool:
        for at in range(0, SECTOR_BYTES, wire.RECORD_BYTES):
            self._flash.read(sector, at, self._record)
            if not _blank(self._record):
                return False
        return True


def _slot_at(slot: int) -> int:
    return PAGE_BYTES + slot * wire.RECORD_BYTES


def _u32(buffer: bytearray | memoryview, at: int) -> int:
    (value,) = struct.unpack_from("<I", buffer, at)
    return int(value)


def _blank(buffer: bytearray) -> bool:
    return buffer == b"\xff" * len(buffer)


def _valid(record: bytearray | memoryview) -> bool:
    covered = memoryview(record)[: wire.RECORD_AT_CRC]
    return record[0] == wire.RECORD_FORMAT and crc32(covered) == _u32(record, wire.RECORD_AT_CRC)
