"""One sector of the journal, byte by byte: a header page, then 30 slots of 128 bytes.

    0    44  header: magic, generation, number of the first record, the MAC before it, receipt position, boot, CRC-32
    44   20  blank, or the tag of a board that keeps sectors in a file system
    64  184  23 receipt marks of 8 bytes: position, CRC-32 of it; programmed one after another into blank bytes
    248   8  the seal, like a mark: number of the first record of the next sector, written once that one's header stands
    256 ...  records

Only the journal and its recovery come here. Flash is programmed in pages of 256 bytes and only ever clears bits, so a
header of zeros ("retired") can be made of any header without an erase, and is none; a slot of zeros ("void") likewise.
"""

import struct
from binascii import crc32

from . import wire
from .hardware import Flash

SECTOR_BYTES = 4096
PAGE_BYTES = 256
SLOTS = 30
HEADER_BYTES = 44
MARKS = 23
_MAGIC = b"HCPJRNL1"
_HEADER = "<8sII16sIII"  # magic, generation, first_seq, prev_mac, receipt_seq, boot, crc
_CRC_AT = 40
_MARKS_AT = 64
_MARK_BYTES = 8
_BLANK_MARK = b"\xff" * _MARK_BYTES
VOID = bytes(wire.RECORD_BYTES)
_BLANK_PAGE = b"\xff" * PAGE_BYTES
_BLANK_SLOT = b"\xff" * wire.RECORD_BYTES


class Header:
    """What a sector's header says of the moment at which the sector was opened."""

    def __init__(self, generation: int, first_seq: int, prev_mac: bytes, receipt_seq: int, boot: int) -> None:
        self.generation = generation
        self.first_seq = first_seq
        self.prev_mac = prev_mac
        self.receipt_seq = receipt_seq
        self.boot = boot

    def pack(self) -> bytearray:
        """Return the header's bytes."""
        raw = bytearray(HEADER_BYTES)
        struct.pack_into(
            _HEADER, raw, 0, _MAGIC, self.generation, self.first_seq, self.prev_mac, self.receipt_seq, self.boot, 0
        )
        struct.pack_into("<I", raw, _CRC_AT, crc32(memoryview(raw)[:_CRC_AT]))
        return raw


def read_header(flash: Flash, sector: int) -> Header | None:
    """Return the header of a sector, None where there is none that fits its CRC."""
    raw = bytearray(HEADER_BYTES)
    flash.read(sector, 0, raw)
    fields = struct.unpack_from(_HEADER, raw, 0)
    if fields[0] != _MAGIC or fields[6] != crc32(memoryview(raw)[:_CRC_AT]):
        return None
    return Header(fields[1], fields[2], fields[3], fields[4], fields[5])


def read_marks(flash: Flash, sector: int) -> tuple[int, int]:
    """Return (marks used up, highest receipt position among them or 0)."""
    mark = bytearray(_MARK_BYTES)
    used = position = 0
    for n in range(MARKS):
        flash.read(sector, _MARKS_AT + n * _MARK_BYTES, mark)
        if mark == _BLANK_MARK:
            continue
        used = n + 1
        if u32(mark, 4) == crc32(memoryview(mark)[:4]):
            position = max(position, u32(mark, 0))
    return used, position


def read_seal(flash: Flash, sector: int) -> int:
    """Return the number with which the next sector began; 0 when there was none yet, -1 when it cannot be read."""
    mark = bytearray(_MARK_BYTES)
    flash.read(sector, mark_at(MARKS), mark)
    if mark == _BLANK_MARK:
        return 0
    return u32(mark, 0) if u32(mark, 4) == crc32(memoryview(mark)[:4]) else -1


def pack_mark(position: int) -> bytearray:
    """Return the bytes of a receipt mark or of a seal."""
    mark = bytearray(_MARK_BYTES)
    struct.pack_into("<I", mark, 0, position)
    struct.pack_into("<I", mark, 4, crc32(memoryview(mark)[:4]))
    return mark


def mark_at(n: int) -> int:
    """Return the offset of a mark; that of the seal for `MARKS`."""
    return _MARKS_AT + n * _MARK_BYTES


def slot_at(slot: int) -> int:
    """Return the offset of a slot."""
    return PAGE_BYTES + slot * wire.RECORD_BYTES


def program(flash: Flash, page: bytearray, sector: int, at: int, data: bytes | bytearray) -> bool:
    """Program `data` inside one page, read it back, tell whether it is there; `page` is scratch, its other bytes keep theirs."""
    begin = at % PAGE_BYTES
    page[:] = _BLANK_PAGE
    page[begin : begin + len(data)] = data
    try:
        flash.program(sector, at - begin, page)
        check = memoryview(page)[: len(data)]
        flash.read(sector, at, check)
    except OSError:
        return False  # a driver that reports what others leave to the reading back
    return bool(check == data)  # type: ignore[comparison-overlap]  # buffers compare by content


def is_blank(slot: bytearray) -> bool:
    """Tell whether nothing was ever programmed into a slot."""
    return bool(slot == _BLANK_SLOT)


def is_record(slot: bytearray | memoryview) -> bool:
    """Tell whether a slot holds a whole record."""
    if slot[0] != wire.RECORD_FORMAT:
        return False
    return bool(crc32(memoryview(slot)[: wire.RECORD_AT_CRC]) == u32(slot, wire.RECORD_AT_CRC))


def u32(buffer: bytearray | memoryview, at: int) -> int:
    """Return the number at an offset."""
    (value,) = struct.unpack_from("<I", buffer, at)
    return int(value)
