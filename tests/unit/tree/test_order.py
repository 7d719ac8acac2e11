"""The slowest test files start first, in every run, also when xdist deals them out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.order import SLOWEST_FIRST

ROOT = Path(__file__).resolve().parents[3]


def test_the_files_named_are_there() -> None:
    assert [name for name in SLOWEST_FIRST if not (ROOT / name).is_file()] == []


def test_one_slow_test_starts_before_many_quick_ones(tmp_path: Path) -> None:
    many, slow = "tests/unit/test_many.py", SLOWEST_FIRST[0]
    assert many < slow, "by name the slow one would be last"
    for name, count in ((many, 3), (slow, 1)):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text("".join(f"def test_{number}():\n    pass\n" for number in range(count)), encoding="ascii")
    words = ("-v", "-p", "xdist.plugin", "-p", "tests.order", "-n", "1", "--dist", "loadfile", "--rootdir", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    ran = re.findall(r"PASSED (tests/\S+)", done.stdout)
    assert ran == [f"{slow}::test_0", *(f"{many}::test_{number}" for number in range(3))], done.stdout
