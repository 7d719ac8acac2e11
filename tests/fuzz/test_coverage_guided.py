"""The coverage-guided fuzzers run, and find a bug that is there: a share of what `python -m tools.fuzz` does for hours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.fuzz.planted import PLANTED
from tools.fuzz.targets import MODULES

ROOT = Path(__file__).resolve().parents[2]
# where there is no atheris the development requirements install none; a hole in CI would show as a skipped test
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="atheris is for Linux")


def fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.fuzz", "--findings", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.parametrize("name", MODULES)
def test_a_fuzzer_runs_and_finds_nothing(name: str, tmp_path: Path) -> None:
    done = fuzz(tmp_path, name, "--seconds", "2")
    assert done.returncode == 0, done.stdout
    executed = re.search(r"([0-9,]+) executions +([0-9]+) edges +nothing found", done.stdout)
    assert executed is not None, done.stdout
    assert int(executed[1].replace(",", "")) > 10
    assert int(executed[2]) > 20  # guided: it sees the code that it runs through


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str, tmp_path: Path) -> None:
    done = fuzz(tmp_path, PLANTED[bug][0], "--seconds", "60", "--plant", bug, "--seed", "1")
    assert (done.returncode, "1 found" in done.stdout) == (1, True), done.stdout
    (finding,) = (tmp_path / PLANTED[bug][0]).iterdir()
    assert finding.read_bytes()
