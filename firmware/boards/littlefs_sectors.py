"""Raw flash sectors for the journal on stock MicroPython, where all free flash belongs to one littlefs.

A file of exactly 4096 bytes is one littlefs block without pointers, which littlefs neither reads nor moves unless somebody
opens the file for writing. So K files (`.j00`, `.j01`, …) are made once and their blocks then used raw, past the file system.
Each block carries a tag in bytes 44 to 63, which the journal leaves blank: magic, epoch, index, CRC. At every start each
file must be there, its tag in exactly one block of the whole flash, and both must show the same bytes; anything else is
`SectorsLost`, for then littlefs may have given the block to another file. `.jmap` remembers the blocks, for the moment
between an erase and the new tag.
"""

import json
import os
import struct
from binascii import crc32, hexlify

from . import Flash

SECTOR_BYTES = 4096
PAGE_BYTES = 256
_ERASE = 6  # the block device's ioctl
_TAG_AT = 44
_TAG = "<6s4sHII"  # magic, epoch, index, sectors, crc
_TAG_BYTES = 20
_MAGIC = b"HCPSEC"
_HEAD_BYTES = 64


class SectorsLost(Exception):
    """The journal's files are not where they were; the argument says which and why. Nothing has been written."""


class BlockDevice:
    """What `rp2.Flash()` offers, as far as it is used here."""

    def writeblocks(self, block: int, buf: bytearray, offset: int) -> None:
        """Program without erasing."""
        raise NotImplementedError

    def ioctl(self, op: int, arg: int) -> int | None:
        """Erase a block, for `op` 6."""
        raise NotImplementedError


class LittlefsSectors(Flash):
    """The sectors that `open_sectors` found."""

    def __init__(self, device: BlockDevice, view: memoryview, blocks: list[int], epoch: bytes) -> None:
        self._device = device
        self._view = view
        self._blocks = blocks
        self._epoch = epoch
        self._page = bytearray(PAGE_BYTES)
        self.sectors = len(blocks)

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Fill `buffer` from offset `at` of a sector."""
        begin = self._blocks[sector] * SECTOR_BYTES + at
        buffer[:] = self._view[begin : begin + len(buffer)]

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Program one page; interrupts are off for 0.6 ms."""
        self._device.writeblocks(self._blocks[sector], page, at)

    def erase(self, sector: int) -> None:
        """Erase a sector and tag it again; interrupts are off for 45 to 400 ms."""
        self._device.ioctl(_ERASE, self._blocks[sector])
        self.tag(sector)

    def tag(self, sector: int) -> None:
        """Write a sector's tag into blank flash."""
        for n in range(PAGE_BYTES):
            self._page[n] = 0xFF
        self._page[_TAG_AT : _TAG_AT + _TAG_BYTES] = _tag(self._epoch, sector, self.sectors)
        self._device.writeblocks(self._blocks[sector], self._page, 0)


def open_sectors(device: BlockDevice, view: memoryview, root: str, count: int) -> LittlefsSectors:
    """Return the sectors below the folder `root`, made now if this is the first start; SectorsLost when they are not intact.

    `view` is the whole block device, as `device` counts blocks. `count` matters at the first start only.
    """
    files = [name for name in os.listdir(root) if name.startswith(".j") and name[2:].isdigit()]
    if ".jmap" not in os.listdir(root):
        if files and any(bytes(view[at : at + 8]) == b"HCPJRNL1" for at in range(0, len(view), SECTOR_BYTES)):
            raise SectorsLost("there are records, but .jmap is gone")
        for name in files:  # of a first start that was cut short
            os.remove(root + name)
        _make(view, root, count)
    try:
        with open(root + ".jmap") as file:
            facts = json.load(file)
        epoch, blocks = bytes.fromhex(facts["epoch"]), facts["blocks"]
    except (ValueError, KeyError, TypeError) as error:
        raise SectorsLost(".jmap cannot be read: " + str(error))  # noqa: B904  # MicroPython has no `raise … from`
    sectors = LittlefsSectors(device, view, blocks, epoch)
    tags = _find_tags(view, epoch)
    for sector in range(len(blocks)):
        _check(sectors, tags, view, root, sector, blocks)
    return sectors


def _check(
    sectors: LittlefsSectors,
    tags: dict[int, list[int]],
    view: memoryview,
    root: str,
    sector: int,
    blocks: list[int],
) -> None:
    path = root + _name(sector)
    found = tags.get(sector, [])
    if found not in ([], [blocks[sector]]):
        raise SectorsLost(path + " is in blocks " + str(found) + " instead of " + str(blocks[sector]))
    try:
        size = os.stat(path)[6]
    except OSError:
        raise SectorsLost(path + " is gone")  # noqa: B904  # MicroPython has no `raise … from`
    if size != SECTOR_BYTES:
        raise SectorsLost(path + " has " + str(size) + " bytes")
    if not found:
        # power went between an erase and the tag: only the same bytes on both ways allow to write it
        if not _same(path, view, blocks[sector], SECTOR_BYTES):
            raise SectorsLost(path + " is not in its block and has no tag")
        sectors.tag(sector)
    if not _same(path, view, blocks[sector], _HEAD_BYTES):
        raise SectorsLost(path + " is not in its block")


def _make(view: memoryview, root: str, count: int) -> None:
    epoch = os.urandom(4)
    content = bytearray(b"\xff" * SECTOR_BYTES)
    for sector in range(count):
        content[_TAG_AT : _TAG_AT + _TAG_BYTES] = _tag(epoch, sector, count)
        with open(root + _name(sector), "wb") as file:
            file.write(content)
    tags = _find_tags(view, epoch)
    blocks = []
    for sector in range(count):
        if len(tags.get(sector, [])) != 1:
            raise SectorsLost(_name(sector) + " cannot be found after it was made")
        blocks.append(tags[sector][0])
    with open(root + ".jmap.new", "w") as file:
        json.dump({"epoch": hexlify(epoch).decode(), "blocks": blocks}, file)
    os.rename(root + ".jmap.new", root + ".jmap")


def _find_tags(view: memoryview, epoch: bytes) -> dict[int, list[int]]:
    """Return the blocks in which each sector's tag stands."""
    found: dict[int, list[int]] = {}
    for block in range(len(view) // SECTOR_BYTES):
        at = block * SECTOR_BYTES + _TAG_AT
        if view[at : at + 6] != _MAGIC:
            continue
        _, its_epoch, sector, count, _ = struct.unpack_from(_TAG, view, at)
        if its_epoch == epoch and view[at : at + _TAG_BYTES] == _tag(epoch, sector, count):
            found.setdefault(sector, []).append(block)
    return found


def _tag(epoch: bytes, sector: int, count: int) -> bytes:
    body = struct.pack("<6s4sHI", _MAGIC, epoch, sector, count)
    return body + struct.pack("<I", crc32(body))


def _same(path: str, view: memoryview, block: int, count: int) -> bool:
    """Tell whether a file and a block begin with the same bytes."""
    at = block * SECTOR_BYTES
    piece = bytearray(PAGE_BYTES)
    with open(path, "rb") as file:
        for offset in range(0, count, PAGE_BYTES):
            file.readinto(piece)
            if view[at + offset : at + offset + PAGE_BYTES] != piece:
                return False
    return True


def _name(sector: int) -> str:
    return ".j%02d" % sector
