"""The demo as a user starts it: a child process with its page on a free port, in a folder of the test's."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.brokers import free_port

ROOT = Path(__file__).resolve().parent.parent
STOP_S = 15.0


def demo_command(folder: Path, *arguments: str) -> list[str]:
    """Return the command line of a demo on `folder`."""
    return [sys.executable, "-m", "simulator", "demo", "--folder", str(folder), *arguments]


def run_demo(folder: Path, *arguments: str, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
    """Run a demo to its end."""
    return subprocess.run(
        demo_command(folder, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@contextmanager
def demo_page(folder: Path, *arguments: str, port: int | None = None) -> Iterator[str]:
    """Run the demo with its page; yield the page's address; a clean end by Ctrl-C is part of the test."""
    command = demo_command(folder, "--no-open", "--port", str(port or free_port()), *arguments)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            found = re.search(r"open in a browser: (http://\S+)", line)
            if found:
                yield found.group(1)
                break
        else:
            raise AssertionError("the demo did not start:\n" + "".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            said.append(process.communicate(timeout=STOP_S)[0])
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert process.returncode == 0, "".join(said)
    assert "Traceback" not in "".join(said)
