"""One file for a support ticket: what a technician asks for first, and nothing that must not leave the PC.

Each part is made on its own; one that fails is in the file as its failure, so that a broken configuration or database still gives
a bundle of the rest. What goes in is named field by field. Never in it: passwords, tokens, keys, records, levels, case and staff
numbers. The texts of others (errors, findings) are searched for the secrets that this PC has before they go in.
Called by the command `agent support-bundle`.
"""

from __future__ import annotations

import contextlib
import json
import locale
import os
import platform
import re
import shutil
import sqlite3
import stat
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Final

from host_agent import AGENT_VERSION
from host_agent.api.metrics import TOKEN_FILE as METRICS_TOKEN_FILE
from host_agent.api.where import TOKEN_FILE
from host_agent.asking import ask
from host_agent.config import PREFIX, Config, load
from host_agent.doctor import examine
from host_agent.errors import AgentError
from host_agent.export.rows import STATES, at_beijing
from host_agent.report import TOLD
from host_agent.store.damage import set_aside_files
from host_agent.store.database import FILE_NAME
from host_agent.store.reader import reading
from host_agent.windows import each, secret_files

MASK: Final = "***"
LIBRARIES: Final = (
    "construct", "fastapi", "filelock", "paho-mqtt", "pydantic", "pydantic-settings", "pyserial", "rich", "sqlite-utils",
    "starlette", "typer", "uvicorn", "xlsxwriter",
)  # fmt: skip  # one line for each would be thirteen lines
LEAST_SECRET: Final = 8
"""Shorter contents are not searched for: they would be found in words that have nothing to do with them, and be told by that."""
_QUOTED_ROW = re.compile(r"with text '.*", re.DOTALL)
"""SQLite's module quotes what it could not decode, which may be a case."""
_USER_INFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class _Site:
    """What is known of the place before anything is asked."""

    file: Path
    config: Config | None
    trouble: str
    """Why there is no configuration; empty when there is one."""
    folder: Path | None
    secrets: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's, under which its parts stand."""
        return "" if self.folder is None else self.folder.name

    def clean(self, value: object) -> object:
        """Return what may go in: texts without this PC's secrets, of anything that has no form in JSON its type."""
        if isinstance(value, dict):
            return {str(name): self.clean(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(one) for one in value]
        if value is None or isinstance(value, int | float):
            return value
        return self.masked(value) if isinstance(value, str) else f"<{type(value).__name__}>"

    def masked(self, text: str) -> str:
        """Return a text of somebody else's without this PC's secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return _USER_INFO.sub(f"//{MASK}@", _QUOTED_ROW.sub(f"with text {MASK}", text))


def write_bundle(config_file: Path, out: BinaryIO) -> list[str]:
    """Write the zip; return the names of parts that could not be made and say why inside."""
    first, *others = _sites(config_file)
    parts: dict[str, Callable[[], object]] = {
        "about.json": lambda: _about(first),
        **_of_window(first),
        "log.txt": _where_the_log_is,
    }
    for other in others:
        parts |= {f"{other.name}/{name}": make for name, make in _of_window(other).items()}
    failed = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, make in parts.items():
            try:
                content = make()
            except Exception as error:  # a bundle of what could be had, whatever it is that is broken here
                content = {"failed": _why(error)}
            if isinstance(content, dict) and "failed" in content:
                failed.append(name)
            cleaned = first.clean(content)
            text = cleaned if isinstance(cleaned, str) else json.dumps(cleaned, ensure_ascii=False, indent=1)
            bundle.writestr(name, text + "\n")
    return failed


def _of_window(site: _Site) -> dict[str, Callable[[], object]]:
    """Return the parts about one window."""
    report = None
    if site.folder is not None:
        with contextlib.suppress(OSError, ValueError):
            report = ask(site.folder)
    return {
        "config.json": lambda: _config(site),
        "status.json": lambda: _status(report),
        "findings.txt": lambda: _findings(site, report),
        "database.json": lambda: _database(site),
        "files.json": lambda: _files(site),
    }


def _why(error: Exception) -> str:
    """Return what failed; in its own words only where those are not made of what was read."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, AgentError | OSError | sqlite3.Error) else kind


def _sites(file: Path) -> list[_Site]:
    """Return what is known of each window of this PC; the first one's secrets are those of all."""
    try:
        config = load(file)
        windows = each(config)
        secrets = _secrets(secret_files(config), *(one.data_dir for one in windows))
    except AgentError as error:
        folder = None
        with contextlib.suppress(OSError, ValueError, KeyError):
            folder = file.resolve().parent / str(tomllib.loads(file.read_text(encoding="utf-8-sig"))["data_dir"])
        with contextlib.suppress(KeyError):
            folder = folder or file.resolve().parent / os.environ[f"{PREFIX}DATA_DIR"]
        folders = [folder, *folder.glob("window-*")] if folder is not None else []
        return [_Site(file, None, str(error), folder, _secrets(_paths(file), *folders))]
    return [_Site(file, one, "", one.data_dir, secrets) for one in windows]


def _paths(file: Path) -> Iterator[Path]:
    """Yield the files with secrets that a configuration names which is not good otherwise."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        for window in (values, *values.get("windows", [])):
            for section, name in (("mqtt", "password_file"), ("mqtt", "key_file"), ("remote", "key_file")):
                named = window.get(section)
                if isinstance(named, dict) and isinstance(named.get(name), str):
                    yield file.resolve().parent / named[name]


def _secrets(files: Iterable[Path], *folders: Path) -> list[str]:
    """Return what must not appear, whole and line by line, the longest first."""
    found = set()
    for path in [*files, *(folder / name for folder in folders for name in (TOKEN_FILE, METRICS_TOKEN_FILE))]:
        with contextlib.suppress(OSError):
            text = path.read_text(encoding="utf-8-sig", errors="replace").strip()
            found |= {text, *(line.strip() for line in text.splitlines())}
    return sorted((one for one in found if len(one) >= LEAST_SECRET), key=len, reverse=True)


def _about(site: _Site) -> dict[str, Any]:
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "local_time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "agent": AGENT_VERSION,
        "python": sys.version,
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "encoding": locale.getencoding(),
        "libraries": versions,
        "disk": None if site.folder is None else dict(_room(site.folder)),
        "not_in_here": "secrets, records, levels, case numbers, staff numbers",
    }


def _room(folder: Path) -> Iterator[tuple[str, int]]:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(nearest)
    yield from (("total_bytes", usage.total), ("free_bytes", usage.free))


def _config(site: _Site) -> dict[str, Any]:
    names = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
    if site.config is None:
        return {"file": str(site.file), "failed": site.trouble, "environment": names}
    return {"file": str(site.file), "environment": names, **site.config.model_dump(mode="json")}


def _status(report: dict[str, Any] | None) -> dict[str, Any]:
    if report is None:
        return {"running": False}
    told = {name: value for name, value in report.items() if name in TOLD}
    return {"running": True, "staff_signed_in": bool(report.get("staff")), **told}


def _findings(site: _Site, report: dict[str, Any] | None) -> str:
    if site.config is None:
        return site.trouble
    lines = []
    try:
        for finding in examine(site.config, report):
            lines.append(f"{finding.grade.value}  {finding.what}: {finding.text}")  # noqa: PERF401  # those before a failure stay
    except Exception as error:  # the doctor itself may not be able to look
        lines.append(f"failed: {_why(error)}")
    return "\n".join(lines)


def _database(site: _Site) -> dict[str, Any]:
    if site.folder is None:
        return {"failed": "no data_dir"}
    file = site.folder / FILE_NAME
    if not file.exists():
        return {"there": False}
    told: dict[str, Any] = {"there": True}
    with reading(file) as connection:
        for name, look in _LOOKS.items():
            try:
                told[name] = look(connection)
            except (sqlite3.Error, UnicodeDecodeError, ValueError, TypeError) as error:
                told[name] = f"failed: {_why(error)}"
    return told


def _states(connection: sqlite3.Connection) -> dict[str, int]:
    rows = connection.execute("SELECT state, count(*) FROM records GROUP BY state")
    return {STATES.get(state, "unknown"): count for state, count in rows}


def _waiting_since(connection: sqlite3.Connection) -> str | None:
    moment = at_beijing(connection.execute("SELECT min(received_ms) FROM records WHERE state < 2").fetchone()[0])
    return None if moment is None else moment.isoformat()


def _devices(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT device, next_seq, receipt_seq, receipt IS NOT NULL, firmware, boot, seen_ms FROM devices ORDER BY device"
    )
    names = ("device", "next_seq", "receipt_seq", "has_receipt", "firmware", "boot", "seen_ms")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _evaluation_states(connection: sqlite3.Connection) -> dict[str, int]:
    known = ("opening", "opened", "rated", "expired", "cancelled", "device_lost", "error")
    rows = connection.execute("SELECT state, count(*) FROM evaluations GROUP BY state")
    counts = dict.fromkeys(known, 0)
    for state, count in rows:
        counts[state if state in known else "unknown"] = counts.get(state if state in known else "unknown", 0) + count
    return counts


_LOOKS: Final[dict[str, Callable[[sqlite3.Connection], Any]]] = {
    "check": lambda connection: str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])[:200],
    "schema": lambda connection: [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")],
    "pages": lambda connection: connection.execute("PRAGMA page_count").fetchone()[0],
    "free_pages": lambda connection: connection.execute("PRAGMA freelist_count").fetchone()[0],
    "page_bytes": lambda connection: connection.execute("PRAGMA page_size").fetchone()[0],
    "records": _states,
    "waiting_since": _waiting_since,
    "evaluations": _evaluation_states,
    "devices": _devices,
}


def _files(site: _Site) -> dict[str, Any]:
    """List the data directory: names, sizes, rights, times. Nothing of what is in the files."""
    if site.folder is None:
        return {"failed": "no data_dir"}
    files = []
    for path in sorted(site.folder.iterdir()):
        info = path.lstat()
        changed = datetime.fromtimestamp(info.st_mtime, UTC).isoformat(timespec="seconds")
        files.append({"name": path.name, "bytes": info.st_size, "mode": stat.filemode(info.st_mode), "changed": changed})
    return {"folder": str(site.folder), "set_aside": set_aside_files(site.folder / FILE_NAME), "files": files}


def _where_the_log_is() -> str:
    return (
        "日志不在本文件中，请另附 The log is not in here, please send it as well.\n"
        "Linux 服务 service: journalctl -u haochaping-agent --since -7d > agent.log\n"
        "手动运行 run by hand: 在标准错误输出 it is on standard error"
    )
