"""The agent at rest: what it holds of memory, and what it takes of a processor while one device is connected."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psutil

from tools.bench.paper import PaperDevice
from tools.bench.pty_device import PtyDevice
from tools.bench.stage import Stage
from tools.bench.table import Effort, Goal, Row

LIBRARIES = (
    "construct", "fastapi", "filelock", "paho.mqtt.client", "pydantic", "pydantic_settings", "rich.console",
    "serial", "sqlite_utils", "typer", "uvicorn",
)  # fmt: skip  # one line for each would be eleven lines
SETTLE_S = 3.0
MEGA = 1_000_000


def rest_rows(effort: Effort) -> list[Row]:
    """Resident memory beside a Python that imports the same libraries and sleeps; processor time over a while at rest."""
    for_s = effort.of(30, 5)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Stage(Path(name)) as stage:
        stage.start_broker()
        device = PtyDevice(stage.folder / "port", PaperDevice("PJ-0001", "1"))
        agent = psutil.Process(stage.start_agent(str(device.path)).pid)
        sleeper = f"import time, {', '.join(LIBRARIES)}\nprint('ready -', flush=True)\ntime.sleep(3600)"
        service = stage.start("libraries", [sys.executable, "-c", sleeper])
        service.ready_url()
        if not device.started.wait(30):
            raise TimeoutError("the agent has not asked for records")
        time.sleep(SETTLE_S)  # not for a condition: what follows shall be rest
        before, began_s = agent.cpu_times(), time.monotonic()
        time.sleep(for_s)
        after, took_s = agent.cpu_times(), time.monotonic() - began_s
        used_s = after.user + after.system - before.user - before.system
        memory, bare = agent.memory_info().rss / MEGA, psutil.Process(service.pid).memory_info().rss / MEGA
        device.close()
    return [
        Row("memory", "agent: resident memory", memory, "MB", bare, "Python with the same libraries", Goal(at_most=1.5)),
        # of the smallest step of the kernel's clock: a figure of 0 would only say that it is coarse
        Row(
            "idle", "agent at rest, one device: of one processor", max(used_s, 0.01) / took_s * 100, "%", goal=Goal(at_most=0.5)
        ),
    ]
