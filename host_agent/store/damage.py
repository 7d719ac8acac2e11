"""A database that is damaged: how it is known, and how it is put out of the way.

The file is moved aside under a name with the time, with what SQLite keeps beside it, and a new one is begun: the device holds its
records until the collector's receipt, so it sends again what was lost with the file. Damage that is found while the agent runs
ends the agent; a mark on the disk has the next start move the file aside even when no check finds anything, for an agent that
fails at the same place at every start would be worse than one without its history. Nothing here deletes a database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger("agent.store")

BESIDE = ("", "-wal", "-shm")
_DAMAGE = (
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_TOOBIG,
)
_NOT_OUR_SCHEMA = re.compile(
    "no such|has no column|already exists|already another|malformed|syntax error|unrecognized token|unsupported file format"
    "|Could not decode to UTF-8"
)
FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""What a statement may raise: Python's module cannot even tell an error that names a damaged word."""
_MARK = ".condemned"
REPAIRED = ".repaired"
"""A database with this name is complete and shall take the place of the one that is in use (see `salvage`)."""
SALVAGED = ".salvaged-"
"""What has been rescued from: no longer told as damaged, and not rescued from again."""


def is_damage(error: BaseException) -> bool:
    """Tell whether an error says that the file itself is damaged, and not only that it cannot be written now.

    Our statements are constant, violate no constraint and store little, so one that does, finds no such table or a value that is too
    big has met a damaged file. Text that is no UTF-8 any more is refused by Python's module, without a code of SQLite's.
    """
    if isinstance(error, UnicodeDecodeError):
        return True
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in _DAMAGE or (code in (0, sqlite3.SQLITE_ERROR) and bool(_NOT_OUR_SCHEMA.search(str(error))))


def damaged(text: str) -> sqlite3.DatabaseError:
    """Return an error that `is_damage` knows."""
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def must_ascend(after_id: int, ids: Sequence[int]) -> None:
    """Raise when rows are not in their order beyond `after_id`: with a damaged index, who reads on from the last one never ends."""
    for before, row_id in zip((after_id, *ids), ids, strict=False):
        if row_id <= before:
            raise damaged(f"row {row_id} comes after row {before}")


@contextlib.contextmanager
def content_checked() -> Iterator[None]:
    """Take a row that does not hold what was written there for damage: SQLite has no checksums over its pages."""
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        # not the error's own words: they quote the row, and this goes into the log
        raise damaged(f"a row holds what was never written ({type(error).__name__})") from error


def must_not_be_empty(path: Path) -> None:
    """Raise damage where a file is empty and its log is not: SQLite would throw the log away when it opens them."""
    log_file = path.with_name(path.name + "-wal")
    if path.exists() and not path.stat().st_size and log_file.exists() and log_file.stat().st_size:
        raise damaged("the file is empty, and its log is not")


def condemn(path: Path) -> None:
    """Have the next start move the database at `path` aside."""
    try:
        path.with_name(path.name + _MARK).touch()
    except OSError as error:
        log.error("无法标记损坏的数据库 the damaged database cannot be marked: %s; move %s away by hand", error, path)


def is_condemned(path: Path) -> bool:
    """Tell whether an earlier run has condemned the database."""
    return path.with_name(path.name + _MARK).exists()


def set_aside(path: Path, why: str) -> None:
    """Move the database aside under a name with the time; OSError when that cannot be done."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside, number = f"{path.name}.damaged-{stamp}", 1
    while path.with_name(aside).exists():
        number += 1
        aside = f"{path.name}.damaged-{stamp}-{number}"
    for end in BESIDE:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(path.with_name(aside + end))
    path.with_name(path.name + _MARK).unlink(missing_ok=True)
    log.error(
        "数据库已损坏，移至 %s 并新建，评价器会重新发送 the database is damaged (%s); a new one is begun, the device sends again",
        aside,
        why,
    )


def finish_repair(path: Path) -> bool:
    """Put a repaired database in place if there is one; may be cut off anywhere and be done again. Tell whether there was one."""
    repaired = path.with_name(path.name + REPAIRED)
    if not repaired.exists():
        return False
    for end in (*BESIDE[1:], _MARK):  # the old one's log would be read into the new one
        path.with_name(path.name + end).unlink(missing_ok=True)
    os.replace(repaired, path)
    return True


def set_aside_files(path: Path) -> list[str]:
    """Return the names of databases that were moved aside, oldest first."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(file.name for file in found if not file.name.endswith(BESIDE[1:]))
