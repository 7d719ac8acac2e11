"""NOR flash in memory or in a file; runs on CPython and, inside the simulated device, on MicroPython.

Programming only clears bits and erasing sets a whole sector, as the chip does: a firmware that relies on anything else fails here
as it would on the board. Every call is counted, for the figures on wear.
"""

from firmware.evaluator.hardware import Flash

SECTOR_BYTES = 4096
PAGE_BYTES = 256


class MemoryFlash(Flash):
    """Flash of `sectors` × 4096 bytes in memory, blank at first."""

    def __init__(self, sectors: int) -> None:
        self.sectors = sectors
        self.content = bytearray(b"\xff" * (sectors * SECTOR_BYTES))
        self.programs = 0
        self.erases = 0

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Fill `buffer` from offset `at` of a sector."""
        begin = sector * SECTOR_BYTES + at
        buffer[:] = self.content[begin : begin + len(buffer)]

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Clear the bits that are clear in `page`."""
        if at % PAGE_BYTES or len(page) != PAGE_BYTES:
            raise ValueError("only whole pages of 256 bytes can be programmed")
        begin = sector * SECTOR_BYTES + at
        before = self.content[begin : begin + PAGE_BYTES]
        after = int.from_bytes(before, "little") & int.from_bytes(page, "little")
        self.content[begin : begin + PAGE_BYTES] = after.to_bytes(PAGE_BYTES, "little")
        self.programs += 1
        self._changed(begin, PAGE_BYTES)

    def erase(self, sector: int) -> None:
        """Set a sector to 0xFF."""
        begin = sector * SECTOR_BYTES
        self.content[begin : begin + SECTOR_BYTES] = b"\xff" * SECTOR_BYTES
        self.erases += 1
        self._changed(begin, SECTOR_BYTES)

    def _changed(self, begin: int, count: int) -> None:
        """Hear that bytes changed; for flash that is kept somewhere else as well."""


class FileFlash(MemoryFlash):
    """Flash kept in a file, so that it outlives the process; a missing file is a blank chip."""

    def __init__(self, path: str, sectors: int) -> None:
        super().__init__(sectors)
        try:
            with open(path, "rb") as file:
                found = file.read()
        except OSError:
            found = b""
        if found and len(found) != len(self.content):
            raise ValueError(path + " holds a flash of another size")
        if found:
            self.content[:] = found
        else:
            with open(path, "wb") as file:
                file.write(self.content)
        self._file = open(path, "r+b")  # noqa: SIM115  # held for as long as the chip exists

    def _changed(self, begin: int, count: int) -> None:
        self._file.seek(begin)
        self._file.write(self.content[begin : begin + count])
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
