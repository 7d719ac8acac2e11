"""Rescuing what a damaged database holds: a fresh one is built from every row that is whole, and takes its place.

A record is whole when its own CRC says so, and is taken whatever else is broken. What is here already stays as it is, so that nothing
comes twice; what a damaged file calls receipted is believed only where a receipt in it covers the record, and is sent again
otherwise: the collector stores each record once, and a record that is kept back would be lost. The device is asked again for
all it has.

Nothing is deleted: the old file is copied aside first, and what was rescued from is renamed `…salvaged-TIME`. The fresh database
is complete and on the disk before it gets the name that decides (`damage.REPAIRED`): a power cut before that leaves the old
one, after it the new one, which the next start puts in place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from sqlite_utils import Database

from host_agent.doctor.finding import Grade
from host_agent.errors import StoreError
from host_agent.store import finds, soundness
from host_agent.store.damage import BESIDE, REPAIRED, SALVAGED, finish_repair, set_aside_files
from host_agent.store.database import FILE_NAME, LOCK_FILE
from host_agent.store.late_cases import WAITING
from host_agent.store.schema import RECEIPTED, TO_SEND, migrations
from protocol.errors import ProtocolError
from protocol.messages import Receipt
from protocol.payloads import Case
from protocol.record import SEQ_SPAN, parse_record
from protocol.signing import NO_DIGEST, context_digest

BUILDING: Final = ".repairing"
SURELY: Final = 3
"""Records of a device that nothing else names: from so many on it is believed."""


@dataclass
class Rescue:
    """What came of it."""

    sources: list[str] = field(default_factory=list)
    is_current_whole: bool = True
    records: int = 0
    """How many are in the fresh database."""
    added: int = 0
    """How many of them were not in the database that is in use, as far as that can be read as a whole."""
    to_send: int = 0
    evaluations: int = 0
    damaged_rows: int = 0
    """Rows of records that are there and not whole."""
    unknown_devices: int = 0
    """Records of which it is not certain whose they are."""
    missing: list[tuple[str, int, int]] = field(default_factory=list)
    """Device, first and last of numbers of which nothing is here though those before and after are."""
    kept_aside: list[str] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        """True when there is anything to do."""
        return not self.is_current_whole or len(self.sources) > 1


def repair(folder: Path, *, dry_run: bool = False) -> Rescue:
    """Rebuild the database in a folder from itself and from what was set aside; StoreError when an agent has it, or none is there."""
    file = folder / FILE_NAME
    with _alone(folder):
        finish_repair(file)  # one that was cut off
        asides = [folder / name for name in set_aside_files(file)]
        if not file.exists() and not asides:
            raise StoreError(f"没有数据库 {file}，无需修复 there is no database here, nothing to repair")
        rescue = Rescue(is_current_whole=not file.exists() or is_whole(file))
        rescue.sources = [one.name for one in (*asides, file) if one.exists()]
        if not rescue.has_work:
            return rescue
        fresh = folder / (FILE_NAME + BUILDING)
        try:
            _build(fresh, file, asides, rescue)
            if not dry_run:
                _swap(fresh, file, asides, rescue)
        except OSError as error:
            raise StoreError(
                f"无法修复，原库未动 cannot be repaired, the old one is as it was: {error}; check the disk"
            ) from error
        finally:
            for end in ("", "-journal"):
                fresh.with_name(fresh.name + end).unlink(missing_ok=True)
        return rescue


def is_whole(file: Path) -> bool:
    """Tell whether nothing in a database has to be repaired."""
    return not any(finding.grade is Grade.FAIL for finding in soundness.check(file, 0, is_running=False))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep agents out for the length of a block."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StoreError(
            "代理程序正在运行，请先停止它 the agent is running: stop it first (agent service: systemctl stop haochaping-agent)"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise StoreError(f"数据目录不可写 {folder}: {error} cannot be written; run this as the agent's account") from error
    try:
        _give_to_owner(folder / LOCK_FILE)
        yield
    finally:
        lock.release()


# --- building ------------------------------------------------------------------------------------------------------


def _build(fresh: Path, file: Path, asides: list[Path], rescue: Rescue) -> None:
    """Make the fresh database, complete and on the disk."""
    fresh.unlink(missing_ok=True)
    is_copied = rescue.is_current_whole and file.exists()
    if is_copied:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM INTO ?", (str(fresh),))
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        migrations.apply(Database(connection))
        before = connection.execute("SELECT count(*) FROM records").fetchone()[0]
        connection.executescript(finds.TABLES)
        for number, source in enumerate([*asides] if is_copied else [*asides, *([file] if file.exists() else [])]):
            connection.execute("BEGIN")
            rescue.damaged_rows += finds.take(connection, source, number)
            connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        _fill(connection, rescue)
        connection.execute("COMMIT")
        rescue.records, rescue.to_send = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE state < ?) FROM records", (RECEIPTED,)
        ).fetchone()
        rescue.added = rescue.records - before
        rescue.evaluations = connection.execute("SELECT count(*) FROM evaluations").fetchone()[0]
        rescue.missing = list(_missing(connection))
    _give_to_owner(fresh)
    _sync(fresh)


def _fill(connection: sqlite3.Connection, rescue: Rescue) -> None:
    """Bring what was staged into the tables, in the order in which it once came."""
    known = {device for (device,) in connection.execute("SELECT device FROM devices UNION SELECT device FROM found_devices")}
    for (device,) in connection.execute("SELECT DISTINCT device FROM found").fetchall():
        (count,) = connection.execute("SELECT count(*) FROM found WHERE device = ?", (device,)).fetchone()
        # a name that is damaged would have the record refused for ever; the same damage does not come again and again
        if known and device not in known and count < SURELY:
            rescue.unknown_devices += connection.execute("DELETE FROM found WHERE device = ?", (device,)).rowcount
            continue
        receipt = _receipt(connection, device)
        firmware = connection.execute(
            "SELECT firmware, boot, seen_ms FROM found_devices WHERE device = ? AND typeof(firmware) = 'text'"
            " ORDER BY seen_ms DESC LIMIT 1",
            (device,),
        ).fetchone() or (None, None, None)
        connection.execute(
            "INSERT OR IGNORE INTO devices (device, next_seq, receipt_seq, receipt, firmware, boot, seen_ms) VALUES (?,0,?,?,?,?,?)",
            (device, receipt.next_seq if receipt else 0, receipt.pack() if receipt else None, *firmware),
        )
        first_seq = (receipt.next_seq - 2) // SEQ_SPAN * SEQ_SPAN + 1 if receipt else 0
        connection.execute(
            "UPDATE found SET is_receipted = 0 WHERE device = ? AND NOT (seq >= ? AND seq < ?)",
            (device, first_seq, receipt.next_seq if receipt else 0),
        )
    connection.execute(
        "DELETE FROM found WHERE EXISTS (SELECT 1 FROM records r"
        " WHERE r.device = found.device AND r.seq = found.seq AND r.mac = found.mac)"
    )
    # what is there already moves behind: records are sent in the order of their ids, and these are older
    connection.execute(
        "UPDATE records SET id = id + (SELECT max(id) FROM records) + (SELECT count(*) FROM found) WHERE EXISTS (SELECT 1 FROM found)"
    )
    connection.execute(
        "INSERT INTO records"
        " (id, device, seq, mac, raw, evaluation, received_ms, replayed, state, sends, reckoned_json)"
        " SELECT row_number() OVER (ORDER BY source, row), device, seq, mac, raw, evaluation, received_ms, 1,"
        " iif(is_receipted, ?, ?), sends, reckoned_json FROM found",
        (RECEIPTED, TO_SEND),
    )
    _fill_evaluations(connection)
    _fill_absences(connection)
    # sent again, whatever the file says that the collection has: it answers again, and counts the first one
    connection.execute(
        "INSERT OR IGNORE INTO late_cases (device, seq, mac, case_json, staff, named_ms, state)"
        " SELECT device, seq, mac, case_json, staff, named_ms, ? FROM found_late_cases ORDER BY named_ms",
        (WAITING,),
    )


def _fill_absences(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO absences (id, what, said_json, is_over) SELECT id, what, said_json, 1 FROM found_absences"
    )


def _fill_evaluations(connection: sqlite3.Connection) -> None:
    """Bring the evaluations in, the latest word on each; one whose case is not what its record was signed over is left out."""
    rows = connection.execute(
        "SELECT id, key, case_json, staff, state, reason, timeout_ms, created_ms, ended_ms FROM found_evaluations"
        " ORDER BY state IN ('opening', 'opened'), source DESC, row DESC"
    )
    for row in rows:
        signed = connection.execute("SELECT raw FROM records WHERE evaluation = ? LIMIT 1", (row[0],)).fetchone()
        case = Case.from_json(row[2].encode()) if row[2] else None
        digest = context_digest(bytes.fromhex(row[0]), case.fields()) if case is not None else NO_DIGEST
        if signed is not None and parse_record(signed[0]).context_digest != digest:
            continue
        taken = connection.execute("SELECT 1 FROM evaluations WHERE key = ? AND id <> ?", (row[1], row[0])).fetchone()
        key = None if taken else row[1]
        connection.execute("INSERT OR IGNORE INTO evaluations VALUES (?,?,?,?,?,?,?,?,?)", (row[0], key, *row[2:]))


def _receipt(connection: sqlite3.Connection, device: str) -> Receipt | None:
    """Return the latest receipt that is about a record that is here; nobody on this PC can tell more of it."""
    candidates = connection.execute(
        "SELECT receipt_seq, receipt FROM found_devices WHERE device = ?1 UNION SELECT receipt_seq, receipt FROM devices"
        " WHERE device = ?1 ORDER BY receipt_seq DESC",
        (device,),
    ).fetchall()
    for receipt_seq, packed in candidates:
        with contextlib.suppress(ProtocolError, TypeError, ValueError):
            receipt = Receipt.unpack(packed)
            key = (device, receipt.next_seq - 1, receipt.record_mac)
            query = (
                "SELECT 1 FROM found WHERE device = ?1 AND seq = ?2 AND mac = ?3"
                " UNION SELECT 1 FROM records WHERE device = ?1 AND seq = ?2 AND mac = ?3"
            )
            if receipt.next_seq == receipt_seq and connection.execute(query, key).fetchone():
                return receipt
    return None


def _missing(connection: sqlite3.Connection) -> Iterator[tuple[str, int, int]]:
    before: tuple[str, int] | None = None
    for device, seq in connection.execute("SELECT DISTINCT device, seq FROM records ORDER BY device, seq"):
        if before is not None and device == before[0] and seq > before[1] + 1 and seq % SEQ_SPAN != 1:
            yield device, before[1] + 1, seq - 1
        before = device, seq


# --- taking its place ----------------------------------------------------------------------------------------------


def _swap(fresh: Path, file: Path, asides: list[Path], rescue: Rescue) -> None:
    """Copy the old one aside, decide, put the new one in place, and put away what was rescued from."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    if file.exists():
        rescue.kept_aside.append(_copy_aside(file, stamp))
    os.replace(fresh, file.with_name(file.name + REPAIRED))  # from here on the new one is the database
    _sync(file.parent)
    finish_repair(file)
    for aside in asides:
        taken = aside.name.replace(f"{FILE_NAME}.damaged-", f"{FILE_NAME}{SALVAGED}")
        for end in BESIDE:
            with contextlib.suppress(FileNotFoundError):
                aside.with_name(aside.name + end).rename(aside.with_name(taken + end))
        rescue.kept_aside.append(taken)


def _copy_aside(file: Path, stamp: str) -> str:
    name, number = f"{FILE_NAME}{SALVAGED}{stamp}", 1
    while file.with_name(name).exists():
        number += 1
        name = f"{FILE_NAME}{SALVAGED}{stamp}-{number}"
    for end in reversed(BESIDE):  # the file itself last: with it the copy is complete
        source, target = file.with_name(file.name + end), file.with_name(name + end)
        if source.exists():
            shutil.copyfile(source, target)
            _give_to_owner(target)
            _sync(target)
    return name


def _give_to_owner(path: Path) -> None:
    """Give a file to who owns its folder: an administrator who repairs must not leave files that the agent cannot open."""
    os.chmod(path, 0o600)
    if sys.platform != "win32" and os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _sync(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return  # there folders cannot be opened; the file system orders names itself
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
