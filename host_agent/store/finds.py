"""What is whole in a damaged database: every row that can be read and says only what was ever written, put into tables of its own.

Page by page, whatever else of the file is broken. What a row is, is seen from how many columns it has and of what kind. What becomes
of the finds is for `salvage` to say.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from host_agent.evaluations import EvaluationState
from host_agent.store import pages
from host_agent.store.schema import RECEIPTED
from protocol.errors import PayloadError, RecordError
from protocol.payloads import MOST_MILLIS, Absence, Case, Reckoned
from protocol.record import MAC_BYTES, Record, parse_record

_DEVICE = re.compile(r"[A-Za-z0-9_-]{1,16}")
_ID = re.compile(r"[0-9a-f]{32}")
_RECORD_COLUMNS: Final = 10
"""Of the first schema; later ones have more behind them."""
TABLES: Final = """
    CREATE TEMP TABLE found (
        device TEXT, seq INTEGER, mac BLOB, raw BLOB, evaluation TEXT, received_ms INTEGER, is_receipted INTEGER, sends INTEGER,
        reckoned_json TEXT, source INTEGER, row INTEGER, PRIMARY KEY (device, seq, mac)
    );
    CREATE TEMP TABLE found_devices (device TEXT, receipt_seq INTEGER, receipt BLOB, firmware TEXT, boot INTEGER, seen_ms INTEGER);
    CREATE TEMP TABLE found_late_cases (device TEXT, seq INTEGER, mac BLOB, case_json TEXT, staff TEXT, named_ms INTEGER);
    CREATE TEMP TABLE found_absences (id TEXT, what TEXT, said_json TEXT);
    CREATE TEMP TABLE found_evaluations (
        id TEXT, key TEXT, case_json TEXT, staff TEXT, state TEXT, reason TEXT, timeout_ms INTEGER, created_ms INTEGER,
        ended_ms INTEGER, source INTEGER, row INTEGER
    );
"""


def take(connection: sqlite3.Connection, source: Path, number: int) -> int:
    """Put what is whole in one damaged file into the tables; return how many rows of records are there and not whole."""
    damaged_rows = 0
    for row, values in pages.rows(source):
        if len(values) >= _RECORD_COLUMNS and isinstance(values[3], bytes) and isinstance(values[4], bytes):
            record = _record(values)
            if record is None:
                damaged_rows += 1
                continue
            _stage_record(connection, record, values, number, row)
        elif len(values) == 9 and (evaluation := _evaluation(values)) is not None:
            connection.execute("INSERT INTO found_evaluations VALUES (?,?,?,?,?,?,?,?,?,?,?)", (*evaluation, number, row))
        elif len(values) == 8 and (late := _late_case(values)) is not None:
            connection.execute("INSERT INTO found_late_cases VALUES (?,?,?,?,?,?)", late)
        elif len(values) == 6 and (absence := _absence(values)) is not None:
            connection.execute("INSERT INTO found_absences VALUES (?,?,?)", absence)
        elif len(values) == 7 and isinstance(values[0], str) and _DEVICE.fullmatch(values[0]):
            told = (values[0], *(value if isinstance(value, int | str | bytes) else None for value in values[2:]))
            connection.execute("INSERT INTO found_devices VALUES (?,?,?,?,?,?)", told)
    return damaged_rows


def _stage_record(connection: sqlite3.Connection, record: Record, values: list[pages.Value], source: int, row: int) -> None:
    received_ms, state = values[6], values[8]
    sends = values[10] if len(values) > 10 and isinstance(values[10], int) else 0
    connection.execute(
        "INSERT INTO found VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
        " is_receipted = max(is_receipted, excluded.is_receipted), sends = max(sends, excluded.sends)",
        (
            values[1],
            record.seq,
            record.mac,
            values[4],
            record.evaluation.hex(),
            received_ms if isinstance(received_ms, int) and 0 < received_ms < 1 << 43 else min(record.utc_ms, MOST_MILLIS),
            state == RECEIPTED,
            min(max(sends, 0), 1 << 20),
            _reckoned(values[11]) if len(values) > 11 else None,
            source,
            row,
        ),
    )


def _record(values: list[pages.Value]) -> Record | None:
    """Return the record of a row if its bytes are whole and it says whose it is."""
    device, raw = values[1], values[4]
    if not isinstance(raw, bytes) or not isinstance(device, str) or not _DEVICE.fullmatch(device):
        return None
    try:
        return parse_record(raw)
    except RecordError:
        return None


def _evaluation(values: list[pages.Value]) -> tuple[pages.Value, ...] | None:
    """Return the columns of an evaluation if they are what one has."""
    number, key, case_json, staff, state, reason, timeout_ms, created_ms, ended_ms = values
    texts = (number, case_json, state)
    if not all(isinstance(one, str) for one in texts) or not _ID.fullmatch(str(number)):
        return None
    if not all(one is None or isinstance(one, str) for one in (key, staff, reason)):
        return None
    if not isinstance(timeout_ms, int) or not isinstance(created_ms, int) or not isinstance(ended_ms, int | None):
        return None
    try:
        EvaluationState(state)
        if case_json:
            Case.from_json(str(case_json).encode())
    except (ValueError, PayloadError):
        return None
    return tuple(values)


def _late_case(values: list[pages.Value]) -> tuple[pages.Value, ...] | None:
    """Return the columns of a late case, without its number and state, if they are what one has."""
    _number, device, seq, mac, case_json, staff, named_ms, _state = values
    if (
        not isinstance(device, str)
        or not _DEVICE.fullmatch(device)
        or not isinstance(seq, int)
        or not isinstance(named_ms, int)
    ):
        return None
    if not isinstance(mac, bytes) or len(mac) != MAC_BYTES or not isinstance(staff, str | None):
        return None
    try:
        Case.from_json(str(case_json).encode())
    except PayloadError:
        return None
    return device, seq, mac, case_json, staff, named_ms


def _absence(values: list[pages.Value]) -> tuple[pages.Value, ...] | None:
    """Return id, kind and words of an absence that is over; how one that lasted has ended, the damaged file does not know."""
    _number, identity, what, said_json, is_over, _told = values
    try:
        said = Absence.from_json(str(said_json).encode())
    except PayloadError:
        return None
    return (identity, what, said_json) if is_over == 1 and (said.id, said.what) == (identity, what) else None


def _reckoned(value: pages.Value) -> str | None:
    try:
        return Reckoned.from_json(value.encode()).to_json().decode() if isinstance(value, str) else None
    except (PayloadError, ValidationError):
        return None
