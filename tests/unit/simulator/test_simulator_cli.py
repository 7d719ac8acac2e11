"""The simulator's command line teaches, and refuses what cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simulator.device.engine import CPythonEngine, DeviceFailed
from simulator.device.simulated import SimulatedDevice

ROOT = Path(__file__).resolve().parents[3]


def simulator(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "120", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input="q\n",
    )


def test_help_teaches_how_to_develop_against_a_device() -> None:
    text = simulator("device", "--help").stdout
    for word in ("--port", "docs/protocol.md", "device.port", "unplugs", "cuts the power", "socket://"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("device", "--port", "socket://127.0.0.1:0", "--hall-key", "abc"), "64 hex digits"),
        (("device", "--port", "socket://127.0.0.1:0", "--engine", "java"), "cpython"),
        (("device", "--port", "socket://127.0.0.1:0", "--id", "评价器"), "1 to 16 letters"),
        (("device",), "--port"),
        (("demo", "--presses", "0"), "--presses"),
        (("world", "--seeds", "9..1"), "1..20"),
        (("world", "--faults", "earthquake"), "power cut in flash"),
    ],
)
def test_wrong_arguments_say_what_is_wanted(arguments: tuple[str, ...], why: str, tmp_path: Path) -> None:
    done = simulator(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert why in done.stderr


def test_a_port_that_is_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    done = simulator("device", "--port", str(tmp_path / "thesis"), cwd=tmp_path)
    assert done.returncode == 1
    assert "is not a simulated port" in done.stderr
    assert (tmp_path / "thesis").read_text() == "years of work"


@pytest.mark.parametrize("engine", ["vm", "cpython"])
def test_typed_keys_press_buttons(engine: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulator", "device", "--port", "socket://127.0.0.1:0", "--engine", engine],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input="1\nx\nq\n",
    )
    assert done.returncode == 0, done.stderr
    assert "声 sound 2" in done.stdout  # thanks
    assert "'x'?" in done.stderr


def test_a_device_runs_once_and_keeps_its_key(tmp_path: Path) -> None:
    key = bytes(32)
    first = SimulatedDevice(tmp_path, "PJ-1", key, "socket://127.0.0.1:0", engine=CPythonEngine)
    try:
        with pytest.raises(DeviceFailed, match="is running already"):
            SimulatedDevice(tmp_path, "PJ-1", key, "socket://127.0.0.1:0", engine=CPythonEngine)
    finally:
        first.close()
    with pytest.raises(DeviceFailed, match="another hall key"):
        SimulatedDevice(tmp_path, "PJ-1", b"\x01" * 32, "socket://127.0.0.1:0", engine=CPythonEngine)
    SimulatedDevice(tmp_path, "PJ-1", key, "socket://127.0.0.1:0", engine=CPythonEngine).close()
