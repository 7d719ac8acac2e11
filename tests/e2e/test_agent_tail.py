"""`agent tail` beside a running agent: what it shows while a citizen rates, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.levels import Level
from tests.brokers import start_nats
from tests.hall import ROOT, Hall, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as made:
        made.start()
        yield made


class Tail:
    """The command, with what it has said so far in a file."""

    def __init__(self, hall: Hall, folder: Path, *options: str) -> None:
        self.file = folder / "tail.txt"
        command = [sys.executable, "-u", "-m", "host_agent", "tail", "--config", str(hall.agent.config), *options]
        with self.file.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONIOENCODING": "utf-8"}
            )

    def said(self) -> str:
        return self.file.read_text(encoding="utf-8")


def test_a_rating_is_seen_going_by_without_its_level(hall: Hall, tmp_path: Path) -> None:
    tail = Tail(hall, tmp_path)
    try:
        eventually("it listens", lambda: "* window" in tail.said())
        evaluation = hall.open("C-1", staff="017")
        hall.device.press(4)
        assert hall.ended(evaluation) == "rated"
        hall.await_released()
        eventually("the receipt is seen", lambda: "Receipt next_seq=" in tail.said())
        said = tail.said()
        for part in (
            "→ #",
            "SignIn staff=017",
            "Open evaluation=",
            "← Record seq=",
            "kind=rating",
            '* evaluation id="',
            '"rated"',
        ):
            assert part in said
        assert not [level for level in Level if level.word in said or level.chinese in said]
        hall.agent.stop()
        assert tail.process.wait(10) == 0
        assert tail.said().endswith("the agent has stopped\n")
    finally:
        tail.process.kill()
        tail.process.wait()


def test_it_ends_after_so_many_lines_and_says_when_there_is_nothing_to_watch(hall: Hall, tmp_path: Path) -> None:
    tail = Tail(hall, tmp_path, "--lines", "3")
    assert tail.process.wait(20) == 0
    assert tail.said().count("\n") == 3
    hall.agent.stop()
    tail = Tail(hall, tmp_path)
    assert tail.process.wait(20) == 1
    assert "代理程序未运行" in tail.said()
