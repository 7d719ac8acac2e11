"""A NOR flash in RAM for the MicroPython VM, with what `rp2.Flash()` has: a block device that is also a buffer.

Programming clears bits and never sets one, whole pages of 256 bytes only; anything else is an error, as it would be damage on the
board.
"""

BLOCK = 4096
PAGE = 256


class RamFlash(bytearray):
    """All flash of a board that its file system owns."""

    def readblocks(self, block: int, buf: bytearray, offset: int = 0) -> None:
        """Fill `buf`."""
        at = block * BLOCK + offset
        buf[:] = memoryview(self)[at : at + len(buf)]

    def writeblocks(self, block: int, buf: bytearray, offset: int = -1) -> None:
        """Program; without an offset the blocks are erased first."""
        if offset < 0:
            for n in range(len(buf) // BLOCK):
                self.ioctl(6, block + n)
            offset = 0
        if offset % PAGE or len(buf) % PAGE:
            raise ValueError("only whole pages can be programmed")
        at = block * BLOCK + offset
        for n in range(len(buf)):
            self[at + n] &= buf[n]

    def ioctl(self, op: int, arg: int) -> int:
        """Answer as a block device does."""
        if op == 4:
            return len(self) // BLOCK
        if op == 5:
            return BLOCK
        if op == 6:
            memoryview(self)[arg * BLOCK : arg * BLOCK + BLOCK] = b"\xff" * BLOCK
        return 0
