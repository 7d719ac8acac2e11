"""Rows straight from the pages of a SQLite file, whatever state the rest of the file is in (the format: sqlite.org/fileformat2.html).

SQLite itself refuses a file whose first page or an inner page of a table is damaged, though all rows are there. Every table leaf page
is read by itself, those in the write-ahead log after those in the file, and every cell by itself; what does not fit is left out.
What a row means, and whether it is whole, is for the caller to say: also rows that were deleted come out, where their page has
not been used again. Rows that go on in another page are left out; ours are far smaller than a page.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

Value = int | float | str | bytes | None
Row = tuple[int, list[Value]]
"""Row number and columns."""

PAGE_BYTES: Final = 4096
"""SQLite's own choice since 2016, which we leave to it; the header, which says it too, may be what is damaged."""
_TABLE_LEAF: Final = 13
_FILE_HEADER_BYTES: Final = 100
_LOG_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def rows(file: Path) -> Iterator[Row]:
    """Yield every row of a database and of the log beside it, in no order that means anything."""
    for page in pages(file):
        yield from leaf_rows(page)


def pages(file: Path) -> Iterator[bytes]:
    """Yield every page, those of the log last; one that is cut off ends in zeros."""
    with file.open("rb") as content:
        while page := content.read(PAGE_BYTES):
            yield page.ljust(PAGE_BYTES, b"\0")
    yield from log_pages(file)


def log_pages(file: Path) -> Iterator[bytes]:
    """Yield every page in the log beside a database, also those that SQLite would not read any more."""
    log = file.with_name(file.name + "-wal")
    if not log.exists():
        return
    with log.open("rb") as content:
        content.seek(_LOG_HEADER_BYTES)
        while len(content.read(_FRAME_HEADER_BYTES)) == _FRAME_HEADER_BYTES and (page := content.read(PAGE_BYTES)):
            yield page.ljust(PAGE_BYTES, b"\0")


def leaf_rows(page: bytes) -> Iterator[Row]:
    """Yield the rows of a page, none where it is no leaf of a table."""
    start = _FILE_HEADER_BYTES if page.startswith(b"SQLite format 3\0") else 0
    if page[start] != _TABLE_LEAF:
        return
    (count,) = struct.unpack_from(">H", page, start + 3)
    for number in range(min(count, (len(page) - start - 8) // 2)):
        (at,) = struct.unpack_from(">H", page, start + 8 + 2 * number)
        try:
            row = _cell(page, at)
        except (IndexError, ValueError, struct.error):  # this one only: the others have pointers of their own
            continue
        if row is not None:
            yield row


def _cell(page: bytes, at: int) -> Row | None:
    length, at = _varint(page, at)
    number, at = _varint(page, at)
    if length > len(page) - 35 or at + length > len(page):
        return None
    end = at + length
    header_end, column = _varint(page, at)
    header_end += at
    values: list[Value] = []
    body = header_end
    while column < header_end:
        kind, column = _varint(page, column)
        value, body = _value(page, body, kind)
        values.append(value)
    return (number, values) if column == header_end and body == end else None


def _varint(page: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        byte = page[at + count]
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    raise AssertionError


def _value(page: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind == 7:
        return struct.unpack_from(">d", page, at)[0], at + 8
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(page[at:end], "big", signed=True), end
    if kind < 12:
        raise ValueError("a reserved type")
    end = at + (kind - 12) // 2
    if end > len(page):
        raise ValueError("beyond the page")
    content = page[at:end]
    return (content if kind % 2 == 0 else content.decode("utf-8", "replace")), end
