"""The rows of an export, read a page at a time beside a running agent.

Times are Beijing time with its offset. A record's own time is when it was pressed, by the device's clock; where the device knew
none, the period is judged by when it came here. A record whose bytes are damaged is a row with the kind `damaged`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import Enum
from typing import Any, Final

from host_agent.store.reader import PAGE_ROWS
from host_agent.store.schema import DISPUTED, RECEIPTED, SENT, TO_SEND
from protocol.errors import RecordError
from protocol.record import UNKNOWN_UNCERTAINTY, Kind, Record, RecordFlag, TimeQuality, parse_record

BEIJING: Final = timezone(timedelta(hours=8))
Value = str | int | bool | datetime | None
Line = dict[str, Value]

STATES: Final = {TO_SEND: "to_send", SENT: "sent", RECEIPTED: "receipted", DISPUTED: "disputed"}
KINDS: Final = tuple(kind.name.lower() for kind in Kind)
DAMAGED: Final = "damaged"

RECORD_TITLES: Final = {
    "device": "评价器",
    "seq": "记录号",
    "kind": "类型",
    "evaluation": "评价编号",
    "case_no": "办件编号",
    "item_code": "事项编码",
    "item_name": "事项名称",
    "staff": "工作人员",
    "pressed_at": "记录时间（评价器）",
    "time_quality": "时间质量",
    "uncertainty_ms": "时间误差（毫秒）",
    "reckoned_at": "记录时间（本机推算）",
    "received_at": "本机收到时间",
    "state": "状态",
    "sends": "已发送次数",
    "replayed": "补传",
    "free_standing": "无评价请求",
    "revises_seq": "更正的记录号",
    "while_paused": "暂停服务时",
    "no_host": "未连电脑时",
    "boot": "开机次数",
}
EVALUATION_TITLES: Final = {
    "evaluation": "评价编号",
    "state": "结果",
    "reason": "原因",
    "case_no": "办件编号",
    "item_code": "事项编码",
    "item_name": "事项名称",
    "service_no": "服务次序",
    "dept_code": "部门编码",
    "dept_name": "部门名称",
    "staff": "工作人员",
    "timeout_s": "等待时间（秒）",
    "created_at": "发起时间",
    "ended_at": "结束时间",
}


class State(Enum):
    """How far a record has come; `waiting` is everything without a receipt."""

    WAITING = "waiting"
    TO_SEND = "to_send"
    SENT = "sent"
    RECEIPTED = "receipted"
    DISPUTED = "disputed"

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers in the database."""
        if self is State.WAITING:
            return TO_SEND, SENT
        return tuple(number for number, word in STATES.items() if word == self.value)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: days are whole days of Beijing, both included; no kind or state means all."""

    since: date | None = None
    until: date | None = None
    kinds: frozenset[str] = frozenset()
    states: frozenset[State] = frozenset()

    def has_time(self, at_ms: int) -> bool:
        """Tell whether a time is within the period."""
        first_ms = _day_ms(self.since) if self.since is not None else 0
        return at_ms >= first_ms and (self.until is None or at_ms < _day_ms(self.until + timedelta(days=1)))


def records(connection: sqlite3.Connection, wanted: Wanted) -> Iterator[Line]:
    """Yield the records in the order in which they came."""
    # a database that an earlier agent has left has no such column before an agent of today has opened it
    has_reckoned = any(row[1] == "reckoned_json" for row in connection.execute("PRAGMA table_info(records)"))
    numbers = {number for state in wanted.states for number in state.numbers()} or set(STATES)
    query = (
        "SELECT r.id, r.device, r.seq, r.raw, r.received_ms, r.state, r.sends, r.replayed OR r.sent_run_ms IS NOT NULL,"  # noqa: S608  # constant words
        f" {'r.reckoned_json' if has_reckoned else 'NULL'}, e.case_json FROM records r LEFT JOIN evaluations e ON e.id = r.evaluation"
        " WHERE r.id > ? ORDER BY r.id LIMIT ?"
    )
    for row in _pages(connection, query):
        device, seq, raw, received, state, sends, replayed, reckoned_json, case_json = row
        received_ms = _number(received) or 0
        if state not in numbers:
            continue
        record = _parsed(raw)
        kind = DAMAGED if record is None else record.kind.name.lower()
        pressed_ms = 0 if record is None or record.quality is TimeQuality.NONE else record.utc_ms
        if (wanted.kinds and kind not in wanted.kinds) or not wanted.has_time(pressed_ms or received_ms):
            continue
        case = _loaded(case_json)
        line: Line = dict.fromkeys(RECORD_TITLES)
        line |= {"device": _text(device), "seq": _number(seq), "kind": kind}
        line |= {name: _text(case.get(name)) for name in ("case_no", "item_code", "item_name")}
        line["reckoned_at"] = at_beijing(_loaded(reckoned_json).get("at_ms"))
        line["received_at"] = at_beijing(received_ms)
        line |= {"state": STATES[state], "sends": _number(sends), "replayed": bool(replayed)}
        if record is not None:
            line |= _told(record)
        yield line


def evaluations(connection: sqlite3.Connection, wanted: Wanted) -> Iterator[Line]:
    """Yield the evaluations in the order in which they were opened; kinds and states do not choose among them."""
    query = (
        "SELECT rowid, id, state, reason, case_json, staff, timeout_ms, created_ms, ended_ms FROM evaluations"
        " WHERE rowid > ? ORDER BY rowid LIMIT ?"
    )
    for row in _pages(connection, query):
        number, state, reason, case_json, staff, timeout_ms, created_ms, ended_ms = row
        if not wanted.has_time(_number(created_ms) or 0):
            continue
        case = _loaded(case_json)
        line: Line = {name: _text(case.get(name)) for name in EVALUATION_TITLES}
        line |= {"evaluation": _text(number), "state": _text(state), "reason": _text(reason), "staff": _text(staff)}
        line["timeout_s"] = (_number(timeout_ms) or 0) // 1000
        line |= {"created_at": at_beijing(created_ms), "ended_at": at_beijing(ended_ms)}
        yield line


def at_beijing(at_ms: object) -> datetime | None:
    """Return a time in Beijing; None for none, and for one that no calendar has."""
    if not isinstance(at_ms, int) or at_ms <= 0:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BEIJING)
    except (OverflowError, OSError, ValueError):
        return None


def _told(record: Record) -> Line:
    """Return what a record says of itself, but for its level."""
    return {
        "evaluation": record.evaluation.hex() if any(record.evaluation) else None,
        "staff": record.staff or None,
        "pressed_at": at_beijing(record.utc_ms),
        "time_quality": record.quality.name.lower(),
        "uncertainty_ms": None if record.uncertainty_ms == UNKNOWN_UNCERTAINTY else record.uncertainty_ms,
        "free_standing": bool(record.flags & RecordFlag.FREE_STANDING),
        "revises_seq": record.refers_to if record.flags & RecordFlag.REVISION else None,
        "while_paused": bool(record.flags & RecordFlag.WHILE_PAUSED),
        "no_host": bool(record.flags & RecordFlag.NO_HOST),
        "boot": record.boot,
    }


def _parsed(raw: object) -> Record | None:
    try:
        return parse_record(raw) if isinstance(raw, bytes) else None
    except RecordError:
        return None


def _loaded(text: object) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    """Return a text, None for what a damaged row holds instead."""
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    """Return a number, None for what a damaged row holds instead."""
    return value if isinstance(value, int) else None


def _pages(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query without their number, which comes first in it."""
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    after = 0
    while rows := connection.execute(query, (after, PAGE_ROWS)).fetchall():
        for row in rows:
            yield row[1:]
        after = rows[-1][0]


def _day_ms(day: date) -> int:
    return int(datetime.combine(day, time(), BEIJING).timestamp() * 1000)
