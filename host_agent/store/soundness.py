"""Whether a database is sound: file, schema, and whether what stands in it can be true. Reads only, also beside a running agent.

Each finding says what to do. Damage fails; what the agent deals with by itself, or somebody should know of, warns.
Called by the command `agent db check`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from host_agent.doctor.finding import Finding, Grade
from host_agent.evaluations import EvaluationState
from host_agent.store import pages
from host_agent.store.damage import is_condemned, set_aside_files
from host_agent.store.late_cases import KEPT, REFUSED, WAITING
from host_agent.store.reader import PAGE_ROWS, reading
from host_agent.store.schema import DISPUTED, RECEIPTED, SENT, TO_SEND, migrations
from protocol.errors import ProtocolError, RecordError
from protocol.messages import Receipt
from protocol.payloads import Absence, Case
from protocol.record import MAC_BYTES, SEQ_SPAN, RecordFlag, parse_record

REPAIR: Final = "请停止代理程序后运行 stop the agent, then: agent db repair"
FILE, SCHEMA, RECORDS, CHAIN = "文件 file", "结构 schema", "记录 records", "链 chain"
DEVICES, EVALUATIONS = "评价器与回执 devices and receipts", "评价 evaluations"
LATE_CASES = "补登办件 late cases"
ABSENCES = "缺席记录 absences"
LONG_OPEN_MS: Final = 86_400_000
_FEW = 5


def check(file: Path, now_ms: int, *, is_running: bool) -> Iterator[Finding]:
    """Yield what is found; the rest is not looked at where the file cannot be read. The log is not, while an agent writes it."""
    aside = set_aside_files(file)
    if aside:
        yield Finding(
            FILE, Grade.WARN, f"有移开的旧库，可取回其中的记录 set aside, records may be in it: {', '.join(aside)}; {REPAIR}"
        )
    if not file.exists():
        yield Finding(FILE, Grade.OK, f"{file} 尚未建立 is not there yet, the agent makes it at its start")
        return
    if is_condemned(file):
        yield Finding(FILE, Grade.FAIL, f"运行中发现损坏 was found damaged while the agent ran; {REPAIR}")
    try:
        with reading(file) as connection:
            yield _file(file, connection)
            if not is_running and (lost := _only_in_log(file, connection)):
                yield Finding(
                    FILE,
                    Grade.FAIL,
                    f"日志已损坏，其中 {lost} 条记录读不到 the log is damaged, and records in it are not seen; {REPAIR}",
                )
            yield _schema(connection)
            yield from _records(connection)
            yield _devices(connection)
            yield _evaluations(connection, now_ms)
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'late_cases'").fetchone():
                yield _late_cases(connection)
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'absences'").fetchone():
                yield _absences(connection)
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        why = error if isinstance(error, OSError) else type(error).__name__ if isinstance(error, UnicodeDecodeError) else error
        yield Finding(FILE, Grade.FAIL, f"{file} 无法读取 cannot be read: {why}; {REPAIR}")


def _file(file: Path, connection: sqlite3.Connection) -> Finding:
    found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_FEW})")]
    if found != ["ok"]:
        return Finding(FILE, Grade.FAIL, f"已损坏 damaged: {'; '.join(found)[:400]}; {REPAIR}")
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        return Finding(FILE, Grade.FAIL, f"外键不符 foreign keys do not fit; {REPAIR}")
    count, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return Finding(FILE, Grade.OK, f"{file}, {count * size / 1e6:.1f} MB, 空闲 free {free * size / 1e6:.1f} MB")


def _only_in_log(file: Path, connection: sqlite3.Connection) -> int:
    """Count the records that stand in the log behind a place where it is damaged, from which on SQLite does not read it.

    They are newer than what is seen: older ones that are not seen were deleted.
    """
    numbers = dict(connection.execute("SELECT device, next_seq FROM devices").fetchall())
    found = set()
    for page in pages.log_pages(file):
        for _, values in pages.leaf_rows(page):
            if len(values) > 4 and isinstance(raw := values[4], bytes):
                try:
                    record = parse_record(raw)
                except RecordError:
                    continue
                if record.seq >= numbers.get(values[1], 0):
                    found.add((values[1], record.seq, record.mac))
    query = "SELECT 1 FROM records WHERE device = ? AND seq = ? AND mac = ?"
    return sum(connection.execute(query, key).fetchone() is None for key in found)


def _schema(connection: sqlite3.Connection) -> Finding:
    ours = [one.name for one in migrations.pending(Database(memory=True))]
    there = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'host_agent'")]
    later = sorted(set(there) - set(ours))
    if later:
        return Finding(
            SCHEMA, Grade.WARN, f"由更新的程序写过 a later agent has written it: {', '.join(later)}; 请升级 update this one"
        )
    missing = [name for name in ours if name not in there]
    if missing:
        return Finding(
            SCHEMA, Grade.OK, f"旧版本，启动时升级 of an earlier agent, brought up at the next start: {', '.join(missing)}"
        )
    return Finding(SCHEMA, Grade.OK, ours[-1])


@dataclass
class _Seen:
    """What a walk over all records, in the order of their numbers, has met."""

    states: Counter[int] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)


def _records(connection: sqlite3.Connection) -> Iterator[Finding]:
    seen = _walk(connection)
    words = {TO_SEND: "待发送 to send", SENT: "待回执 sent", RECEIPTED: "已归集 receipted", DISPUTED: "编号冲突 disputed"}
    if seen.damaged:
        yield Finding(RECORDS, Grade.FAIL, f"{len(seen.damaged)} 条已损坏 damaged: {_few(seen.damaged)}; {REPAIR}")
    if seen.wrong:
        yield Finding(
            RECORDS, Grade.FAIL, f"{len(seen.wrong)} 条与其内容不符 do not fit their own bytes: {_few(seen.wrong)}; {REPAIR}"
        )
    counts = ", ".join(f"{word} {seen.states[state]}" for state, word in words.items() if seen.states[state])
    yield Finding(RECORDS, Grade.OK, counts or "没有记录 none")
    if seen.breaks:
        yield Finding(
            CHAIN,
            Grade.WARN,
            f"{len(seen.breaks)} 处断开，请查归集程序的证据 broken, see the collector's evidence: {_few(seen.breaks)}",
        )
    if seen.twins:
        yield Finding(
            CHAIN,
            Grade.WARN,
            f"同号不同内容，可能有两台同编号评价器 one number twice: are there two such devices? {_few(seen.twins)}",
        )
    if seen.gaps:
        yield Finding(
            CHAIN, Grade.WARN, f"缺号，连接评价器后自动补取 missing, asked for when the device is here: {_few(seen.gaps)}"
        )
    if not (seen.breaks or seen.twins or seen.gaps):
        yield Finding(CHAIN, Grade.OK, "完整 whole")


def _walk(connection: sqlite3.Connection) -> _Seen:
    seen = _Seen()
    after: tuple[Any, ...] = ("", -1, b"")
    before: tuple[str, int, set[bytes]] | None = None
    """Device and number of what came before, and the MACs under that number."""
    while rows := connection.execute(
        "SELECT device, seq, mac, raw, evaluation, state, received_ms FROM records WHERE (device, seq, mac) > (?, ?, ?)"
        " ORDER BY device, seq, mac LIMIT ?",
        (*after, PAGE_ROWS),
    ).fetchall():
        for device, seq, mac, raw, evaluation, state, received_ms in rows:
            name = f"{device}/{seq}"
            if state not in (TO_SEND, SENT, RECEIPTED, DISPUTED) or not isinstance(received_ms, int):
                seen.wrong.append(name)
            else:
                seen.states[state] += 1
            try:
                record = parse_record(raw) if isinstance(raw, bytes) else None
            except RecordError:
                record = None
            if record is None:
                seen.damaged.append(name)
                before = None
                continue
            if (record.seq, record.mac, record.evaluation.hex()) != (seq, mac, evaluation):
                seen.wrong.append(name)
            starts = bool(record.flags & RecordFlag.NEW_JOURNAL)
            if before is not None and before[0] == device and before[1] == seq:
                seen.twins.append(name)
                before[2].add(mac)
                continue
            if before is not None and before[0] == device and not starts:
                if seq > before[1] + 1 and seq // SEQ_SPAN == before[1] // SEQ_SPAN:
                    seen.gaps.append(f"{device}/{before[1] + 1}..{seq - 1}")
                elif seq == before[1] + 1 and record.prev_mac not in before[2]:
                    seen.breaks.append(name)
            before = device, seq, {mac}
        after = rows[-1][:3]
    return seen


def _devices(connection: sqlite3.Connection) -> Finding:
    unknown = connection.execute(
        "SELECT DISTINCT device FROM records WHERE device NOT IN (SELECT device FROM devices)"
    ).fetchall()
    if unknown:
        return Finding(
            DEVICES,
            Grade.FAIL,
            f"记录的评价器未登记 records of devices that are not listed: {_few([str(one[0]) for one in unknown])}; {REPAIR}",
        )
    count = 0
    for device, receipt_seq, packed in connection.execute("SELECT device, receipt_seq, receipt FROM devices"):
        count += 1
        if packed is None:
            continue
        try:
            receipt = Receipt.unpack(packed)
        except (ProtocolError, TypeError, ValueError):
            return Finding(DEVICES, Grade.FAIL, f"{device}: 回执已损坏 its receipt is damaged; {REPAIR}")
        macs = {
            mac
            for (mac,) in connection.execute(
                "SELECT mac FROM records WHERE device = ? AND seq = ?", (device, receipt.next_seq - 1)
            )
        }
        if receipt.next_seq != receipt_seq or (macs and receipt.record_mac not in macs):
            return Finding(DEVICES, Grade.FAIL, f"{device}: 回执与记录不符 its receipt does not fit the records; {REPAIR}")
    return Finding(DEVICES, Grade.OK, f"{count}")


def _evaluations(connection: sqlite3.Connection, now_ms: int) -> Finding:
    known = {state.value for state in EvaluationState}
    counts: Counter[str] = Counter()
    damaged: list[str] = []
    forgotten: list[str] = []
    for number, case_json, state, created_ms in connection.execute("SELECT id, case_json, state, created_ms FROM evaluations"):
        try:
            if case_json != "":  # a service without a number
                Case.from_json(str(case_json).encode())
            is_good = state in known and isinstance(created_ms, int) and isinstance(number, str)
        except ProtocolError:
            is_good = False
        if not is_good:
            damaged.append(str(number)[:32])
            continue
        counts[state] += 1
        if not EvaluationState(state).is_final and created_ms < now_ms - LONG_OPEN_MS:
            forgotten.append(number)
    if damaged:
        return Finding(EVALUATIONS, Grade.FAIL, f"{len(damaged)} 个已损坏 damaged; {REPAIR}")
    if forgotten:
        return Finding(
            EVALUATIONS,
            Grade.WARN,
            f"{len(forgotten)} 个久未结束，连接评价器后自动处理 open for a day, ended when the device is here: {_few(forgotten)}",
        )
    return Finding(
        EVALUATIONS, Grade.OK, ", ".join(f"{state} {count}" for state, count in sorted(counts.items())) or "没有 none"
    )


def _late_cases(connection: sqlite3.Connection) -> Finding:
    counts: Counter[int] = Counter()
    damaged = 0
    for mac, case_json, state in connection.execute("SELECT mac, case_json, state FROM late_cases"):
        try:
            Case.from_json(str(case_json).encode())
            is_good = isinstance(mac, bytes) and len(mac) == MAC_BYTES and state in (WAITING, KEPT, REFUSED)
        except ProtocolError:
            is_good = False
        damaged += not is_good
        counts[state] += is_good
    if damaged:
        return Finding(LATE_CASES, Grade.FAIL, f"{damaged} 个已损坏 damaged; {REPAIR}")
    words = f"待确认 waiting {counts[WAITING]}，已归集 collected {counts[KEPT]}，未采用 not taken {counts[REFUSED]}"
    return Finding(LATE_CASES, Grade.OK, words)


def _absences(connection: sqlite3.Connection) -> Finding:
    counts: Counter[bool] = Counter()
    for identity, what, said_json, is_over in connection.execute("SELECT id, what, said_json, is_over FROM absences"):
        try:
            said = Absence.from_json(str(said_json).encode())
            is_good = (said.id, said.what) == (identity, what) and is_over in (0, 1)
        except ProtocolError:
            is_good = False
        if not is_good:
            return Finding(ABSENCES, Grade.FAIL, f"已损坏 damaged; {REPAIR}")
        counts[bool(is_over)] += 1
    return Finding(ABSENCES, Grade.OK, f"待确认 waiting {counts[True]}，持续中 lasting {counts[False]}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_FEW]) + (" …" if len(names) > _FEW else "")
