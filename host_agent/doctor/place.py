"""The PC itself: data directory, room on its disk, database, clock."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from host_agent.doctor.finding import Finding, Grade
from host_agent.store.damage import content_checked, is_damage, set_aside_files
from host_agent.store.database import FILE_NAME, LOCK_FILE
from host_agent.store.reader import reading
from host_agent.store.schema import RECEIPTED

DATABASE = "数据库 database"
ROOM_WARN_BYTES = 500_000_000
ROOM_FAIL_BYTES = 20_000_000
"""Below this a few hours of ratings and SQLite's own needs are no longer certain."""
EARLIEST_MS = 1_767_225_600_000
"""2026-01-01: this program did not exist before, so a clock that says so is wrong."""
AHEAD_MS = 3_600_000


def is_running(folder: Path) -> bool:
    """Tell whether an agent has the database in this folder."""
    file = folder / LOCK_FILE
    if not file.exists():
        return False
    try:
        with FileLock(file).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def folder(path: Path, *, is_running: bool) -> Finding:
    """Look whether the data directory is there, or can be made, and can be written."""
    what = "数据目录 data directory"
    if is_running:
        return Finding(what, Grade.OK, f"{path}，代理程序正在使用 in use by the running agent")
    nearest = _nearest(path)
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return Finding(what, Grade.OK, str(path))  # that is the disk's finding
        return Finding(
            what,
            Grade.FAIL,
            f"data_dir: {nearest} 不可写，请检查权限和磁盘 not writable, check rights and disk: {error.strerror}",
        )
    return Finding(what, Grade.OK, str(path) if nearest == path else f"{path}，启动时建立 made at the start")


def room(path: Path) -> Finding:
    """Look how much room the disk has."""
    what = "磁盘 disk"
    free = shutil.disk_usage(_nearest(path)).free
    words = f"剩余 {free / 1e6:,.0f} MB free"
    if free < ROOM_FAIL_BYTES:
        return Finding(what, Grade.FAIL, f"{words}，评价将留在评价器中，请清理磁盘 ratings stay in the device: make room")
    if free < ROOM_WARN_BYTES:
        return Finding(what, Grade.WARN, f"{words}，请清理磁盘 make room")
    return Finding(what, Grade.OK, words)


def database(path: Path) -> Iterator[Finding]:
    """Look whether the database is whole, and at what was moved aside."""
    file = path / FILE_NAME
    yield _content(file)
    aside = set_aside_files(file)
    if aside:
        names = ", ".join(aside)
        yield Finding(
            DATABASE,
            Grade.WARN,
            f"曾损坏，旧库已移开：停止代理程序后用 agent db repair 取回其中的记录 damaged before and set aside; "
            f"stop the agent and take its records back: agent db repair: {names}",
        )


def _content(file: Path) -> Finding:
    if not file.exists():
        return Finding(DATABASE, Grade.OK, "启动时建立 made at the start")
    try:
        waiting, since_ms, found = _read(file)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return _unreadable(file, error)
    if found != "ok":
        return _unreadable(file, sqlite3.DatabaseError(found))
    if not waiting:
        return Finding(DATABASE, Grade.OK, "完好，没有待回执的记录 whole, nothing waits")
    hours = max(0, now_ms() - since_ms) / 3_600_000
    return Finding(
        DATABASE, Grade.OK, f"完好，待回执 {waiting} 条 whole, {waiting} without receipt, the oldest for {hours:.1f} h"
    )


def _read(file: Path) -> tuple[int, int, str]:
    with reading(file) as connection:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            return 0, 0, found
        row = connection.execute("SELECT count(*), min(received_ms) FROM records WHERE state < ?", (RECEIPTED,)).fetchone()
        with content_checked():
            return int(row[0]), int(row[1] or 0), found


def _unreadable(file: Path, error: Exception) -> Finding:
    if is_damage(error) or not isinstance(error, sqlite3.OperationalError):
        return Finding(
            DATABASE,
            Grade.FAIL,
            "已损坏，请重新启动代理程序，届时移开旧库，评价器会重新发送 damaged, start the agent again: it begins a new one, "
            f"the device sends again: {error}",
        )
    return Finding(DATABASE, Grade.FAIL, f"{file} 无法读取，请检查权限 cannot be read, check rights: {error}")


def clock(path: Path) -> Finding:
    """Look whether the clock can be right: not before this program, nor before records that came in."""
    what = "本机时钟 clock"
    now = now_ms()
    words = time.strftime("%Y-%m-%d %H:%M", time.localtime(now / 1000))
    if now < EARLIEST_MS:
        return Finding(what, Grade.FAIL, f"{words}，明显有误，请校时 cannot be right: set it; a rating's time is taken from it")
    if _newest_ms(path / FILE_NAME) > now + AHEAD_MS:
        return Finding(what, Grade.WARN, f"{words}，已有更晚收到的记录，请校时 records came in later than that: check it")
    return Finding(what, Grade.OK, words)


def now_ms() -> int:
    """Return what this PC's clock says, milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def _newest_ms(file: Path) -> int:
    if not file.exists():
        return 0
    try:
        with reading(file) as connection:
            return int(connection.execute("SELECT max(received_ms) FROM records").fetchone()[0] or 0)
    except (sqlite3.Error, ValueError, TypeError):
        return 0  # what is wrong with the database is a finding of its own


def _nearest(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
