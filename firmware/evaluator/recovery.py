"""What the journal finds in its flash at start: which sectors count, where they begin, where the last one ends.

Headers say it in the ordinary case. A header that was damaged later costs nothing: its sector is found again by the signed
records in it, as long as one of them has no receipt. A sector whose erase was cut short was retired before, so its
remains are never taken for records that are missing. Reads only; called once by `Journal.recover`.
"""

from . import sector as layout
from . import wire
from .hardware import Flash
from .signer import Signer


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
        self.next_seq = self.receipt_seq = 1
        self.boot = 1
        self.prev_mac = bytes(16)
        self.unreadable = 0
        """Slots in the last sector that hold neither a record nor blank flash; sectors not blank, without a journal."""
        self._look()

    def _look(self) -> None:
        headers = [layout.read_header(self._flash, sector) for sector in range(self._flash.sectors)]
        newest = 0
        places: list[tuple[int, int, int]] = []  # number of the first record, generation or 0, sector
        for sector, header in enumerate(headers):
            if header:
                self.receipt_seq = max(self.receipt_seq, header.receipt_seq)
                self.generation = max(self.generation, header.generation)
                self.boot = max(self.boot, header.boot + 1)
                places.append((header.first_seq, header.generation, sector))
                if header.generation == self.generation:
                    newest = sector
        if places:
            self.receipt_seq = max(self.receipt_seq, layout.read_marks(self._flash, newest)[1])
        for sector, header in enumerate(headers):
            if not header:
                first = self._first_without_receipt(sector)
                if first:
                    places.append((first, 0, sector))
        if not places:
            self.unreadable = sum(0 if self._is_blank(sector) else 1 for sector in range(self._flash.sectors))
            return
        places.sort()
        for place in self._connected(places):
            self.ring.append(place[2])
            self.first.append(place[0])
        self._scan_last(headers[self.ring[-1]])
        self.receipt_seq = min(max(self.receipt_seq, self.first[0]), self.next_seq)

    def _connected(self, places: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Leave out what lies before a break in the generations, unless it may hold a record without receipt."""
        begin = len(places) - 1
        while begin and (places[begin][0] > self.receipt_seq or places[begin - 1][1] == places[begin][1] - 1):
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

    def _scan_last(self, header: layout.Header | None) -> None:
        """Follow the records of the newest sector to its end; go on in a new one if its header is gone."""
        sector = self.ring[-1]
        record = self._slot_bytes
        self.next_seq = self.first[-1]
        end = 0
        if header:
            self.prev_mac = header.prev_mac
        for slot in range(layout.SLOTS):
            self._flash.read(sector, layout.slot_at(slot), record)
            if layout.is_blank(record):
                continue
            end = slot + 1
            # a number further on: records before it were damaged after they had been written
            if layout.is_record(record) and layout.u32(record, wire.RECORD_AT_SEQ) >= self.next_seq:
                self.next_seq = layout.u32(record, wire.RECORD_AT_SEQ) + 1
                self.prev_mac = bytes(record[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC])
                self.boot = max(self.boot, layout.u32(record, wire.RECORD_AT_BOOT) + 1)
            else:
                self.unreadable += 1
        if header:
            self.slot = end
            self.marks = layout.read_marks(self._flash, sector)[0]

    def _is_blank(self, sector: int) -> bool:
        for slot in range(layout.SLOTS):
            self._flash.read(sector, layout.slot_at(slot), self._slot_bytes)
            if not layout.is_blank(self._slot_bytes):
                return False
        return True
