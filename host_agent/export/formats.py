"""CSV, XLSX and JSON, written row by row: the length of the table costs no memory.

Column names in CSV and JSON are English words that stay; XLSX is for people, with Chinese titles. A text in CSV that a spreadsheet
would take for a formula gets an apostrophe before it (in XLSX it is a text by its type): a case number comes from another system.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import BinaryIO, Final

from xlsxwriter import Workbook  # type: ignore[import-untyped]  # it has no types

from host_agent.export.rows import Line, Value

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_SHEET_ROWS: Final = 1_048_575
"""What a sheet takes below its title row."""
Write = Callable[[BinaryIO, Mapping[str, str], Iterable[Line]], int]


def write_csv(out: BinaryIO, titles: Mapping[str, str], lines: Iterable[Line], *, bom: bool = False) -> int:
    """Write UTF-8 with CRLF (RFC 4180); return how many rows. `bom` tells Excel that it is UTF-8."""
    text = io.TextIOWrapper(out, encoding="utf-8-sig" if bom else "utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(titles)
    count = 0
    for line in lines:
        writer.writerow([_cell(line[name]) for name in titles])
        count += 1
    text.detach()
    return count


def write_jsonl(out: BinaryIO, titles: Mapping[str, str], lines: Iterable[Line]) -> int:
    """Write one JSON object on each line; return how many."""
    count = 0
    for line in lines:
        out.write(_json(titles, line) + b"\n")
        count += 1
    return count


def write_json(out: BinaryIO, titles: Mapping[str, str], lines: Iterable[Line]) -> int:
    """Write one array of JSON objects; return how many."""
    count = 0
    for line in lines:
        out.write((b",\n" if count else b"[\n") + _json(titles, line))
        count += 1
    out.write(b"\n]\n" if count else b"[]\n")
    return count


def write_xlsx(out: BinaryIO, titles: Mapping[str, str], lines: Iterable[Line]) -> int:
    """Write a workbook whose cells have types; return how many rows. Beyond what a sheet takes the next one follows."""
    book = Workbook(out, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    bold, moment = book.add_format({"bold": True}), book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    count = 0
    sheet = None
    for line in lines:
        row = count % _SHEET_ROWS
        if sheet is None or not row:
            sheet = _sheet(book, titles, bold)
        for column, name in enumerate(titles):
            value = line[name]
            if isinstance(value, datetime):
                sheet.write_datetime(row + 1, column, value.replace(tzinfo=None), moment)
            elif isinstance(value, bool):
                sheet.write_string(row + 1, column, "是" if value else "否")
            elif isinstance(value, int):
                sheet.write_number(row + 1, column, value)
            elif value is not None:
                sheet.write_string(row + 1, column, value)
        count += 1
    if sheet is None:
        _sheet(book, titles, bold)
    book.close()
    return count


FORMATS: Final[dict[str, Write]] = {"csv": write_csv, "json": write_json, "jsonl": write_jsonl, "xlsx": write_xlsx}


def _sheet(book: Workbook, titles: Mapping[str, str], bold: object) -> Workbook:
    sheet = book.add_worksheet()
    sheet.set_column(0, len(titles) - 1, 20)
    sheet.freeze_panes(1, 0)
    for column, title in enumerate(titles.values()):
        sheet.write_string(0, column, title, bold)
    return sheet


def _json(titles: Mapping[str, str], line: Line) -> bytes:
    return json.dumps({name: _plain(line[name]) for name in titles}, ensure_ascii=False).encode()


def _plain(value: Value) -> Value:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def _cell(value: Value) -> Value:
    plain = _plain(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    return f"'{plain}" if isinstance(plain, str) and plain.startswith(_FORMULA) else plain
