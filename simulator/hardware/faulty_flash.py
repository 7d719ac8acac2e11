"""Flash whose power is cut at any operation or in the middle of one, and whose sectors can go bad.

Runs on CPython and on MicroPython. `random` is anything with `randrange`, seeded by the caller, so that a failure can be had
again. After a cut the content is what the chip would hold: a page half programmed, a sector half erased, and bits that are
neither: weak ones read differently from one time to the next, until they are programmed or erased.
"""

try:  # noqa: SIM105  # MicroPython has no contextlib
    from random import Random
except ImportError:
    pass  # MicroPython has only the module, which does as well; there annotations are never evaluated

from simulator.hardware.flash import PAGE_BYTES, SECTOR_BYTES, MemoryFlash

SHAPES = ("none", "one", "half", "other half", "all but one", "all", "weak")
"""How much of an operation is done when the power goes: that many of the bytes that it changes, from their beginning or (the
other half) their end; or some bits, others weak."""
_MOST_WEAK = 40  # bytes with weak bits, of one operation


class PowerCut(Exception):
    """The power went; whoever was running is gone. `restore` and start anew on the same flash."""


class FaultyFlash(MemoryFlash):
    """Memory flash with faults; without any it behaves as `MemoryFlash` does."""

    def __init__(self, sectors: int, random: Random) -> None:
        super().__init__(sectors)
        self._random = random
        self.left = -1
        """Programs and erases until the power goes in the middle of one; -1 for never."""
        self.bad: list[int] = []
        """Sectors that neither program nor erase, without a word."""
        self.raising: list[int] = []
        """Sectors whose driver raises OSError instead."""
        self.weak: dict[int, int] = {}
        """Weak bits: a mask by place in `content`."""
        self.has_power = True
        self._shape = ""

    def cut_after(self, operations: int, shape: str = "") -> None:
        """Let so many programs and erases succeed; the one after them is cut short, in one of `SHAPES` or at random."""
        self.left = operations
        self._shape = shape

    def restore(self) -> None:
        """Bring the power back."""
        self.left = -1
        self.has_power = True

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Fill `buffer`, weak bits anyhow; nothing is read without power."""
        if not self.has_power:
            raise PowerCut
        begin = sector * SECTOR_BYTES + at
        buffer[:] = self.content[begin : begin + len(buffer)]
        if self.weak:
            self._shake(begin, buffer)

    def _shake(self, begin: int, buffer: bytearray | memoryview) -> None:
        end = begin + len(buffer)
        for place in [place for place in self.weak if begin <= place < end]:
            buffer[place - begin] ^= self.weak[place] & self._random.randrange(256)

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Clear the bits that are clear in `page`, or only some of them."""
        cut = self._is_cut()
        if not self._works(sector):
            return
        begin = sector * SECTOR_BYTES + at
        if cut:
            before = self.content[begin : begin + PAGE_BYTES]
            super().program(sector, at, page)
            self._undo(begin, before)
            raise PowerCut
        super().program(sector, at, page)
        for place in [place for place in self.weak if begin <= place < begin + PAGE_BYTES]:
            self.weak[place] &= page[place - begin]  # what has been cleared once more is firm

    def erase(self, sector: int) -> None:
        """Set a sector to 0xFF, or only some of its bits."""
        cut = self._is_cut()
        if not self._works(sector):
            return
        begin = sector * SECTOR_BYTES
        before = self.content[begin : begin + SECTOR_BYTES]
        super().erase(sector)
        if cut:
            self._undo(begin, before)
            raise PowerCut
        for place in [place for place in self.weak if begin <= place < begin + SECTOR_BYTES]:
            del self.weak[place]

    def _is_cut(self) -> bool:
        if not self.has_power:
            raise PowerCut
        if self.left == 0:
            self.has_power = False
            return True
        if self.left > 0:
            self.left -= 1
        return False

    def _works(self, sector: int) -> bool:
        if sector in self.raising:
            raise OSError(5, "sector " + str(sector))
        return sector not in self.bad

    def _undo(self, begin: int, before: bytearray) -> None:
        """Take back a part of an operation: the end of it, or some bits everywhere; of those some become weak."""
        changed = [n for n in range(len(before)) if before[n] != self.content[begin + n]]
        shape = self._shape or ("weak", "beginning", "end")[self._random.randrange(3)]
        if shape == "weak":
            self._weaken(begin, before, changed)
            return
        count = len(changed)
        if shape in ("end", "other half"):
            kept = count // 2 if self._shape else self._random.randrange(count + 1)
            for n in changed[:kept]:
                self.content[begin + n] = before[n]
            return
        if shape == "beginning":
            done = self._random.randrange(count + 1)
        else:
            done = {"none": 0, "one": 1, "half": count // 2, "all but one": count - 1, "all": count}[shape]
        for n in changed[max(0, done) :]:
            self.content[begin + n] = before[n]

    def _weaken(self, begin: int, before: bytearray, changed: list[int]) -> None:
        weak = 0
        for n in changed:
            difference = before[n] ^ self.content[begin + n]
            self.content[begin + n] ^= difference & self._random.randrange(256)
            if weak < _MOST_WEAK and self._random.randrange(3) == 0:
                mask = difference & self._random.randrange(256)
                if mask:
                    self.weak[begin + n] = self.weak.get(begin + n, 0) | mask
                    weak += 1
