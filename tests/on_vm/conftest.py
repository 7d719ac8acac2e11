"""Where the MicroPython VM is, and how a script is run in it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., list[str]]


@pytest.fixture
def micropython() -> str:
    """Return the path of the MicroPython VM installed beside this Python."""
    found = shutil.which("micropython", path=str(Path(sys.executable).parent))
    assert found, "the MicroPython VM is not installed: pip install -e .[dev]"
    return found


@pytest.fixture
def run_on_vm(micropython: str) -> Run:
    """Return a function that runs a script of this folder with the repository's root as its first argument."""

    def run(script: str, *arguments: str) -> list[str]:
        command = [micropython, str(Path(__file__).with_name(script)), str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout.splitlines()

    return run
