"""The benchmarks run, and each row is there with figures that can be true; how fast anything is, is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hall import ROOT
from tools.bench.__main__ import BENCHMARKS

pytestmark = [pytest.mark.e2e, pytest.mark.micropython, pytest.mark.timeout(300)]

UNITS = {
    "commit": "µs", "parse": "µs", "wire-p50": "ms", "wire-p99": "ms", "wire-burst": "ms", "receipt-p50": "ms",
    "receipt-p99": "ms", "drain": "/s", "drain-first": "s", "drain-memory": "MB", "drain-lost": "", "drain-doubled": "",
    "ingest": "/s", "store-sqlite": "/s", "store-postgresql": "/s",
    "press": "µs", "flash-bytes": "", "flash-erases": "", "start": "s", "memory": "MB", "idle": "%", "threads": "",
    "written": "B", "installed": "MB",
    "world-presses": "/s", "world-faults": "/s",
}  # fmt: skip
WITHOUT_FLOOR = {
    "drain-first",
    "drain-memory",
    "drain-lost",
    "drain-doubled",
    "idle",
    "threads",
    "installed",
    "flash-bytes",
    "flash-erases",
    "world-presses",
    "world-faults",
}


WAITS = ("drain", "rest", "receipt")
"""What mostly waits; run beside what mostly calculates, both are done in about half the time."""


def test_every_row_is_measured(tmp_path: Path) -> None:
    groups = {"waits": WAITS, "calculates": tuple(name for name in BENCHMARKS if name not in WAITS)}
    running = {
        group: subprocess.Popen(
            [sys.executable, "-m", "tools.bench", *names, "--quick", "--json", str(tmp_path / group)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for group, names in groups.items()
    }
    rows: dict[str, Any] = {}
    try:
        for group, process in running.items():
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said[-3000:]
            rows |= {row["name"]: row for row in json.loads((tmp_path / group).read_text())["rows"]}
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    measured = {name: row for name, row in rows.items() if "skipped" not in row}
    assert {name: row["unit"] for name, row in measured.items()} == UNITS
    assert rows["drain-lost"]["figure"] == rows["drain-doubled"]["figure"] == 0
    for name, row in measured.items():
        assert row["figure"] > 0 or name in ("drain-lost", "drain-doubled", "drain-memory"), row
        assert (row["floor"] is None) == (name in WITHOUT_FLOOR), row
        assert row["floor"] is None or row["floor"] > 0, row


def test_a_name_that_does_not_exist_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench", "nothing"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "there is no nothing; there is commit" in done.stderr
