"""The benchmarks run, and each row is there with figures that can be true; how fast anything is, is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hall import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.micropython, pytest.mark.timeout(300)]

UNITS = {
    "commit": "µs", "parse": "µs", "wire-p50": "ms", "wire-p99": "ms", "wire-burst": "ms", "receipt-p50": "ms",
    "receipt-p99": "ms", "drain": "/s", "drain-first": "s", "drain-memory": "MB", "drain-lost": "", "drain-doubled": "",
    "ingest": "/s", "store-sqlite": "/s", "store-postgresql": "/s",
    "press": "µs", "flash-bytes": "", "flash-erases": "", "memory": "MB", "idle": "%",
    "world-presses": "/s", "world-faults": "/s",
}  # fmt: skip
WITHOUT_FLOOR = {
    "drain-first",
    "drain-memory",
    "drain-lost",
    "drain-doubled",
    "idle",
    "flash-bytes",
    "flash-erases",
    "world-presses",
    "world-faults",
}


def test_every_row_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tools.bench", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
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
