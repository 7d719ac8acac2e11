"""The records that the journal holds, by number: which sectors they are in, and which of them cannot be read.

The journal keeps `ring` and `first`; nothing here writes. A number that no sector holds, though it lies within the journal's
range, belonged to a sector that is lost.
"""

from . import sector as layout
from . import wire
from .hardware import Flash

_MOST_LOOKED_AT = 16  # records, in one search for the end of an unreadable stretch


class Held:
    """Where each record is."""

    def __init__(self, flash: Flash) -> None:
        self.flash = flash
        self.scratch = bytearray(wire.RECORD_BYTES)
        self.ring: list[int] = []
        """Sectors in use, oldest first; the last one is being written."""
        self.first: list[int] = []
        """Number of the first record of each of them."""
        self.oldest_seq = self.next_seq = self.receipt_seq = 1

    def read(self, seq: int, buffer: bytearray | memoryview) -> bool:
        """Fill `buffer` (128 bytes) with record `seq`; False when it is not held or can no longer be read."""
        if not self.oldest_seq <= seq < self.next_seq or seq < self.first[0]:
            return False
        place = self._place_of(seq)
        # a record is at its number's slot, or further on by as many slots as were skipped before it
        for slot in range(seq - self.first[place], layout.SLOTS):
            self.flash.read(self.ring[place], layout.slot_at(slot), buffer)
            if layout.is_record(buffer) and layout.u32(buffer, wire.RECORD_AT_SEQ) == seq:
                return True
        return False

    def unreadable_from(self, seq: int, buffer: bytearray | memoryview) -> int:
        """Return how many records in a row, from an unreadable one on, cannot be read, as far as is seen; `buffer` is scratch."""
        count = looked_at = 1
        while seq + count < self.next_seq:
            nowhere = self._nowhere(seq + count)
            if nowhere:
                count += nowhere
            elif looked_at < _MOST_LOOKED_AT and not self.read(seq + count, buffer):
                count += 1
                looked_at += 1
            else:
                break
        return count

    def was_cut_short(self, seq: int) -> bool:
        """Tell whether record `seq`, which cannot be read, was the last one when the power went: perhaps nobody was thanked."""
        if not self.first[0] <= seq < self.next_seq or self._nowhere(seq):
            return False
        place = self._place_of(seq)
        for slot in range(seq - self.first[place], layout.SLOTS):
            self.flash.read(self.ring[place], layout.slot_at(slot), self.scratch)
            if self.scratch == layout.VOID:
                return True
            if layout.is_record(self.scratch) and layout.u32(self.scratch, wire.RECORD_AT_SEQ) > seq:
                return False
        return False

    def _nowhere(self, seq: int) -> int:
        """Return how many numbers from `seq` on lie before the first sector or between two, and so are in none."""
        if seq < self.first[0]:
            return self.first[0] - seq
        place = self._place_of(seq)
        if seq < self.first[place] + layout.SLOTS:
            return 0
        return (self.first[place + 1] if place + 1 < len(self.first) else self.next_seq) - seq

    def _place_of(self, seq: int) -> int:
        place = len(self.first) - 1
        while self.first[place] > seq:
            place -= 1
        return place
