"""The commands that the reliability page tells a sceptic to type are there, with the options it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    \.venv/bin/python -m ([^\n]+)$", PAGE, re.MULTILINE)


def test_there_are_five() -> None:
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("simulator")])
def test_its_options_are_known(command: str) -> None:
    _, name, *rest = command.split()
    told = subprocess.run(
        [sys.executable, "-m", "simulator", name, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    ).stdout
    assert all(option in told for option in rest if option.startswith("--"))


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("pytest")])
def test_its_test_files_are_there(command: str) -> None:
    paths = [word for word in command.split() if word.startswith("tests/")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
