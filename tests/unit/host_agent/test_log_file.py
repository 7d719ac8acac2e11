"""The log of a service in files of bounded size: whatever file somebody holds open meanwhile, no line is missing in between."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from host_agent.service.log_file import RotatingFile

OLDER = 3


@pytest.mark.parametrize("held", ["agent.log", *(f"agent.log.{number}" for number in range(1, OLDER + 1))])
def test_whichever_file_is_held_for_a_while_no_line_is_lost_but_the_oldest(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = RotatingFile(tmp_path / "agent.log", most_bytes=100, older=OLDER)
    replace, holds = Path.replace, False

    def as_windows_does(source: Path, target: Path) -> Path:
        if holds and held in (source.name, target.name) and (tmp_path / held).exists():
            raise PermissionError(held)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", as_windows_does)  # a fake of what Windows does with a file that is open
    for number in range(160):
        holds = 50 <= number < 90
        handler._not_before_s = 0.0  # a minute later
        handler.emit(logging.makeLogRecord({"msg": f"line {number:03}"}))
        if number == 89:
            assert said(tmp_path)[-40:] == list(range(50, 90)), "nothing of what came meanwhile is missing"
    handler.close()
    kept = said(tmp_path)
    assert kept == list(range(kept[0], 160))
    assert len(kept) >= OLDER * 10
    assert sorted(file.name for file in tmp_path.iterdir()) == ["agent.log", *(f"agent.log.{n}" for n in range(1, OLDER + 1))]
    assert all(file.stat().st_size < 120 for file in tmp_path.iterdir())


def said(folder: Path) -> list[int]:
    """Return the numbers of the lines in all files, as they stand there from the oldest file to the newest."""
    files = sorted(folder.iterdir(), key=lambda file: int(file.suffix[1:]) if file.suffix != ".log" else -1, reverse=True)
    return [int(line.split()[1]) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
