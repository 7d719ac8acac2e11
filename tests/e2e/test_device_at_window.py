"""A device that belongs to another window is noticed where people look, and its ratings are taken all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import start_nats
from tests.hall import DEVICE, ROOT, Hall, eventually

pytestmark = pytest.mark.e2e


def agent(hall: Hall, command: str) -> tuple[int, str]:
    words = [sys.executable, "-m", "host_agent", command, "--config", str(hall.agent.config)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


def test_another_windows_device_is_told_of_and_its_ratings_are_collected(tmp_path: Path) -> None:
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as hall:
        text = hall.agent.config.read_text()
        hall.agent.config.write_text(text.replace("[device]\n", '[device]\nid = "PJ-0009"\n'))
        hall.start()
        hall.device.press(0)
        hall.await_collected(1)
        trouble = hall.status()["device_trouble"]
        assert "PJ-0009" in trouble
        assert DEVICE in trouble
        code, said = agent(hall, "status")
        assert code == 2
        assert "PJ-0009" in said
        code, said = agent(hall, "doctor")
        assert code == 2
        assert "PJ-0009" in said

        # corrected: all is well
        hall.agent.stop()
        hall.agent.config.write_text(text.replace("[device]\n", f'[device]\nid = "{DEVICE}"\n'))
        hall.agent.start()
        eventually("the device is known", lambda: hall.status()["device"] == DEVICE)
        assert hall.status()["device_trouble"] is None
        assert agent(hall, "doctor")[0] == 0
