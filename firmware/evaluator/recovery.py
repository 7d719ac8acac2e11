"""What the journal finds in its flash at start: which sectors count, where they begin, where the last one ends.

Headers say it in the ordinary case. A header that was damaged later costs nothing: its sector is found again by the signed
records in it, as long as one of them has no receipt. A sector whose erase was cut short was retired before, so its
remains are never taken for records that are missing.

Whatever may have been a record uses up its number: a slot behind the last record that holds something unreadable, a sector
that was opened and is gone. So no number is ever given twice. Reads only; called once by `Journal.recover`.
"""

from . import sector as layout
from . import wire
from .hardware import Flash
from .signer import Signer

_READINGS = 3  # of a slot that is neither blank nor a record, before that is believed


class Found:
    """The sectors that count, oldest first, and the state to go on from; `ring` is empty where there is no journal."""

    def __init__(self, flash: Flash, signer: Signer) -> None:
        self._flash = flash
        self._signer = signer
        self._slot_bytes = bytearray(wire.RECORD_BYTES)
        self.ring: list[int] = []
        self.first: list[int] = []
        self.generation = 0
        self.slot = layout.SLOTS
        self.marks = layout.MARKS
        self.oldest_seq = self.next_seq = self.receipt_seq = 1
        self.boot = 1
        self.prev_mac = bytes(16)
        self.header: layout.Header | None = None
        """The header of the last sector."""
        self.torn: list[int] = []
        """Slots behind the last record that hold neither a record nor blank flash."""
        self.last_slot = -1
        """The slot of the last record, where it is in the last sector."""
        self.remains = 0
        """Without a journal: sectors that hold something nevertheless."""
        self._look()

    def _look(self) -> None:
        headers = [layout.read_header(self._flash, sector) for sector in range(self._flash.sectors)]
        places: list[tuple[int, int, int]] = []  # number of the first record, generation or 0, sector
        for sector, header in enumerate(headers):
            if header:
                self.receipt_seq = max(self.receipt_seq, header.receipt_seq)
                self.generation = max(self.generation, header.generation)
                self.boot = max(self.boot, header.boot + 1)
                places.append((header.first_seq, header.generation, sector))
        if places:
            self.receipt_seq = max(self.receipt_seq, layout.read_marks(self._flash, max(places)[2])[1])
        for sector, header in enumerate(headers):
            if not header:
                first = self._first_without_receipt(sector)
                if first:
                    places.append((first, 0, sector))
        if not places:
            self.remains = sum(0 if self._is_blank(sector) else 1 for sector in range(self._flash.sectors))
            return
        places.sort()
        for place in self._connected(places):
            self.ring.append(place[2])
            self.first.append(place[0])
        self.header = headers[self.ring[-1]]
        self._scan_last()
        self._pass_over_lost_sectors()
        if self.receipt_seq > self.next_seq:  # collected records read as blank: nobody can say how many came after them
            self.boot += self.receipt_seq + layout.SLOTS - self.next_seq
            self.next_seq = self.receipt_seq + layout.SLOTS
            self.slot = layout.SLOTS
        # what lies between the receipts and the first sector is lost, and must be said to be
        begin = (self.first[0] - 1) // wire.SEQ_SPAN * wire.SEQ_SPAN + 1
        self.receipt_seq = max(self.receipt_seq, begin)
        self.oldest_seq = min(self.first[0], self.receipt_seq)

    def _connected(self, places: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Leave out what lies before a break in the numbers, unless it may hold a record without receipt."""
        begin = len(places) - 1
        while begin and (places[begin][0] > self.receipt_seq or places[begin][0] <= places[begin - 1][0] + layout.SLOTS):
            begin -= 1
        return places[begin:]

    def _first_without_receipt(self, sector: int) -> int:
        """Return the first record's number in a sector without header if one there has no receipt, else 0."""
        record = self._slot_bytes
        first = last = 0
        for slot in range(layout.SLOTS):
            self._flash.read(sector, layout.slot_at(slot), record)
            if layout.is_record(record) and self._is_signed(record):
                last = layout.u32(record, wire.RECORD_AT_SEQ)
                first = first or last
        return first if last >= self.receipt_seq else 0

    def _is_signed(self, record: bytearray) -> bool:
        mac = self._signer.mac(memoryview(record)[: wire.SIGNED_BYTES])
        return record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC] == mac

    def _scan_last(self) -> None:
        """Follow the records of the newest sector to its end; go on in a new one if its header is gone."""
        sector = self.ring[-1]
        record = self._slot_bytes
        self.next_seq = self.first[-1]
        end = 0
        if self.header:
            self.prev_mac = self.header.prev_mac
        for slot in range(layout.SLOTS):
            self._read_slot(sector, slot)
            if layout.is_blank(record):
                continue
            end = slot + 1
            # a number further on: records before it were damaged after they had been written
            if layout.is_record(record) and layout.u32(record, wire.RECORD_AT_SEQ) >= self.next_seq:
                self.next_seq = layout.u32(record, wire.RECORD_AT_SEQ) + 1
                self.prev_mac = bytes(record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC])
                self.boot = max(self.boot, layout.u32(record, wire.RECORD_AT_BOOT) + 1)
                self.last_slot = slot
                self.torn.clear()
            else:
                self.torn.append(slot)
        # each may have been a record, even the first one of a boot
        self.next_seq += len(self.torn)
        self.boot += len(self.torn)
        if self.header:
            # what was cut short at its very beginning reads as blank, and might not stay so: one slot and one mark are left out
            self.slot = min(end + 1, layout.SLOTS)
            self.marks = min(layout.read_marks(self._flash, sector)[0] + 1, layout.MARKS)

    def _pass_over_lost_sectors(self) -> None:
        """Where a sector was opened after the last one that is left, count every number that it and others may have held."""
        seal = layout.read_seal(self._flash, self.ring[-1])
        if seal < 0 or not (seal or self.header):
            # what said whether there is a next one is gone: there may be one if this one is full
            self._flash.read(self.ring[-1], layout.slot_at(layout.SLOTS - 1), self._slot_bytes)
            seal = 0 if layout.is_blank(self._slot_bytes) else -1
        if seal:
            most = layout.SLOTS * max(1, self._flash.sectors - len(self.ring))
            self.next_seq = max(self.next_seq, seal) + most
            self.boot += most
            self.slot = layout.SLOTS

    def _read_slot(self, sector: int, slot: int) -> None:
        """Read a slot, again if that gave neither a record nor blank flash: a bit may read differently each time."""
        for _ in range(_READINGS):
            self._flash.read(sector, layout.slot_at(slot), self._slot_bytes)
            if layout.is_blank(self._slot_bytes) or layout.is_record(self._slot_bytes):
                return

    def _is_blank(self, sector: int) -> bool:
        for slot in range(layout.SLOTS):
            self._flash.read(sector, layout.slot_at(slot), self._slot_bytes)
            if not layout.is_blank(self._slot_bytes):
                return False
        return True
