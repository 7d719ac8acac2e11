"""The tutorial does what it says: every block of docs/tutorial.md is executed, on ports and in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORTS = ("14222", "11883", "18700", "17610")
WITHIN_S = 40.0


def blocks() -> list[tuple[str, str, str]]:
    """Return (kind, words, text) of every block, with this test's ports."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for port in PORTS:
        text = text.replace(port, str(free_port()))
    return [(kind, words.strip(), body) for kind, words, body in BLOCK.findall(text)]


@pytest.fixture
def background() -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in reversed(running):
        process.terminate()
        process.communicate(timeout=WITHIN_S)


def wait_for(words: str, process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for what the block's words promise: a line `ready`, a file, or a port that answers."""
    import socket

    assert process.stdout is not None
    if words == "ready":
        assert process.stdout.readline().startswith("ready ")
        return
    deadline = time.monotonic() + WITHIN_S
    name, value = words.split("=")
    while time.monotonic() < deadline:
        assert process.poll() is None
        if name == "file" and (folder / value).exists():
            assert "PJQ" in next(line for line in process.stdout if "PJQ" in line)  # powered and plugged in
            return
        if name == "port":
            try:
                socket.create_connection(("127.0.0.1", int(value)), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
    pytest.fail(f"{words} did not come")


def test_every_block_of_the_tutorial_works(tmp_path: Path, background: list[subprocess.Popen[str]]) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    device: subprocess.Popen[str] | None = None
    seen: set[str] = set()
    for kind, words, body in blocks():
        seen.add(kind)
        if kind == "toml":
            (tmp_path / words).write_text(body, encoding="utf-8")
        elif kind == "stdin":
            assert device is not None
            assert device.stdin is not None
            device.stdin.write(body)
            device.stdin.flush()
        elif words.startswith("background"):
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {body}"],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            background.append(process)
            wait_for(words.removeprefix("background").strip(), process, tmp_path)
            if "simulator device" in body:
                device = process
        else:
            # the clone's .venv is the one that runs this test
            command = body.replace("python run.py setup\n", "")
            done = subprocess.run(
                ["/bin/sh", "-ec", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, command + done.stdout + done.stderr
    assert seen == {"sh", "toml", "stdin"}
