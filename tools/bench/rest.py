"""What the agent takes of its PC: time to start, memory, threads, processor time at rest, and what a rating writes to the disk."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tools.bench.paper import PaperDevice
from tools.bench.pty_device import PtyDevice
from tools.bench.stage import Stage
from tools.bench.table import Effort, Goal, Row, Skipped

LIBRARIES = (
    "construct", "fastapi", "filelock", "paho.mqtt.client", "pydantic", "pydantic_settings", "rich.console",
    "serial", "sqlite_utils", "typer", "uvicorn",
)  # fmt: skip  # one line for each would be eleven lines
MEGA = 1_000_000


def rest_rows(effort: Effort) -> list[Row | Skipped]:
    """Start, memory, processor time at rest and what a rating writes, beside a Python with the same libraries and a bare commit."""
    for_s, settle_s = effort.of(30, 2), effort.of(3, 1)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Stage(Path(name)) as stage:
        stage.start_broker()
        device = PtyDevice(stage.folder / "port", PaperDevice("PJ-0001", "1"))
        began_s = time.monotonic()
        agent = psutil.Process(stage.start_agent(str(device.path)).pid)
        if not device.started.wait(30):
            raise TimeoutError("the agent has not asked for records")
        _rate(device, 1)
        start_s = time.monotonic() - began_s
        sleeper = f"import time, {', '.join(LIBRARIES)}\nprint('ready -', flush=True)\ntime.sleep(3600)"
        began_s = time.monotonic()
        service = stage.start("libraries", [sys.executable, "-c", sleeper])
        service.ready_url()
        bare_start_s = time.monotonic() - began_s
        time.sleep(settle_s)  # not for a condition: what follows shall be rest
        before, began_s = agent.cpu_times(), time.monotonic()
        time.sleep(for_s)
        after, took_s = agent.cpu_times(), time.monotonic() - began_s
        used_s = after.user + after.system - before.user - before.system
        memory, bare = agent.memory_info().rss / MEGA, psutil.Process(service.pid).memory_info().rss / MEGA
        threads = agent.num_threads()
        written = _written(agent, device, stage.folder, effort.of(1000, 100), settle_s)
        device.close()
    return [
        Row("start", "agent: process → first rating accepted", start_s, "s", bare_start_s, "Python imports the same libraries"),
        Row("memory", "agent: resident memory", memory, "MB", bare, "Python with the same libraries", Goal(at_most=1.5)),
        # of the smallest step of the kernel's clock: a figure of 0 would only say that it is coarse
        Row(
            "idle", "agent at rest, one device: of one processor", max(used_s, 0.01) / took_s * 100, "%", goal=Goal(at_most=0.5)
        ),
        Row("threads", "agent: threads", threads, ""),
        written,
    ]


def _rate(device: PtyDevice, count: int) -> None:
    """Send so many records, each after the one before it was accepted."""
    for frame in device.frames(count):
        device.send(frame)
        device.await_ack()


def _written(agent: psutil.Process, device: PtyDevice, folder: Path, count: int, settle_s: float) -> Row | Skipped:
    """Measure what a rating costs the disk from frame to PUBACK, beside one SQLite commit of its 128 bytes."""
    if not Path("/proc/self/io").exists():
        return Skipped("written", "only Linux says what a process has written")
    before = _disk_bytes(agent.pid)
    _rate(device, count)
    time.sleep(settle_s)  # for the PUBACKs of the last ones, and for a checkpoint that is on
    ours = (_disk_bytes(agent.pid) - before) / count
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (raw BLOB)")
    before = _disk_bytes(os.getpid())
    for _ in range(count):
        connection.execute("INSERT INTO records VALUES (?)", (bytes(128),))
    bare = (_disk_bytes(os.getpid()) - before) / count
    connection.close()
    if not bare:
        return Skipped("written", "the temporary folder is not on a disk")
    return Row("written", "agent: written for each rating, frame to PUBACK", ours, "B", bare, "SQLite commits its 128 bytes")


def _disk_bytes(process: int) -> int:
    """Return what a process has had written to disks."""
    lines = Path(f"/proc/{process}/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
