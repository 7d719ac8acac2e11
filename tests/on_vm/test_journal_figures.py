"""The figures that docs/journal.md states are those that the command prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tools.journal_figures import RATINGS, filled, lived, main

pytestmark = pytest.mark.micropython

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
STATED = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, re.MULTILINE))


def test_the_page_states_what_is_counted() -> None:
    counted = lived(RATINGS) | filled()
    assert len(STATED) == 9
    assert {name: float(value) for name, value in STATED.items()} == {name: counted[name] for name in STATED}


def test_the_command_counts_in_the_vm_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["vm"]
    for kind in ("full", "empty"):
        assert f"{figures[kind + '_start_reads']:,} reads of {figures[kind + '_start_bytes_read']:,} bytes" in PAGE
    assert 2000 < figures["full_held_bytes_64_bit"] < 4000, "the page says 3.0 KB"
