"""Flash whose power is cut at any operation or in the middle of one, and whose sectors can go bad.

Runs on CPython and on MicroPython. `random` is anything with `randrange`, seeded by the caller, so that a failure can be had
again. After a cut the content is what the chip would hold: a page half programmed, a sector half erased.
"""

try:  # noqa: SIM105  # MicroPython has no contextlib
    from random import Random
except ImportError:
    pass  # MicroPython has only the module, which does as well; there annotations are never evaluated

from simulator.hardware.flash import PAGE_BYTES, SECTOR_BYTES, MemoryFlash


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
        self.has_power = True

    def cut_after(self, operations: int) -> None:
        """Let so many programs and erases succeed; the one after them is cut short."""
        self.left = operations

    def restore(self) -> None:
        """Bring the power back."""
        self.left = -1
        self.has_power = True

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Fill `buffer`; nothing is read without power."""
        if not self.has_power:
            raise PowerCut
        super().read(sector, at, buffer)

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Clear the bits that are clear in `page`, or only some of them."""
        cut = self._is_cut()
        if not self._works(sector):
            return
        if not cut:
            super().program(sector, at, page)
            return
        super().program(sector, at, self._half_programmed(page))
        raise PowerCut

    def erase(self, sector: int) -> None:
        """Set a sector to 0xFF, or only some of its bits."""
        cut = self._is_cut()
        if not self._works(sector):
            return
        if not cut:
            super().erase(sector)
            return
        self._half_erase(sector)
        raise PowerCut

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

    def _half_programmed(self, page: bytearray) -> bytearray:
        """Return what a cut leaves of `page`: its beginning, or each byte with only some of its bits cleared; or all of it."""
        half = bytearray(page)
        if self._random.randrange(2):
            begin = self._random.randrange(PAGE_BYTES + 1)
            half[begin:] = b"\xff" * (PAGE_BYTES - begin)
        else:
            for n in range(PAGE_BYTES):
                half[n] |= self._random.randrange(256)
        return half

    def _half_erase(self, sector: int) -> None:
        """Set the sector's beginning, its end, or some bits everywhere; or nothing, or everything."""
        begin = sector * SECTOR_BYTES
        count = self._random.randrange(SECTOR_BYTES + 1)
        how = self._random.randrange(3)
        if how == 0:
            self.content[begin : begin + count] = b"\xff" * count
        elif how == 1:
            end = begin + SECTOR_BYTES
            self.content[end - count : end] = b"\xff" * count
        else:
            for at in range(begin, begin + SECTOR_BYTES):
                self.content[at] |= self._random.randrange(256)
