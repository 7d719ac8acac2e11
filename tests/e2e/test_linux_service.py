"""The systemd service: what its manager hears, what systemd makes of unit and rule, and whether the agent can live with so little.

No systemd runs here to start it: the manager is a socket as systemd's would be, unit and links are checked by systemd's own tools,
and the system calls that a working agent makes are compared with those that its unit allows.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.config_file import Answers, write
from host_agent.errors import AgentError
from host_agent.service import linux
from host_agent.service.notify import Notifier
from tests.brokers import HOST, free_port, start_nats
from tests.chains import WINDOW
from tests.hall import ROOT, Hall, eventually

if not Path("/proc/self").exists():
    pytest.skip("systemd is Linux's", allow_module_level=True)
assert sys.platform != "win32"

pytestmark = pytest.mark.e2e
MOST_EXPOSED = 20
"""In tenths, as systemd-analyze counts: 0 is nothing, 100 everything."""


@contextmanager
def manager(folder: Path, watchdog_s: float) -> Iterator[socket.socket]:
    """Be a service manager for whatever is started in the block: the socket on which it hears its services."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, pytest.MonkeyPatch.context() as patch:
        door.bind(str(folder / "notify"))
        door.settimeout(10.0)
        patch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        patch.setenv("WATCHDOG_USEC", str(int(watchdog_s * 1e6)))
        patch.delenv("WATCHDOG_PID", raising=False)
        yield door


def rest(door: socket.socket) -> list[bytes]:
    """Return what comes until nothing does."""
    said: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        while len(said) < 10:
            said.append(door.recv(100))
    return said


def test_the_manager_hears_ready_then_a_beat_as_long_as_the_loop_turns_then_the_end(tmp_path: Path) -> None:
    with manager(tmp_path, watchdog_s=1.5) as door, Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as hall:
        hall.agent.start()
        assert door.recv(100) == b"READY=1"
        began_s = time.monotonic()
        assert [door.recv(100) for _ in range(4)] == 4 * [b"WATCHDOG=1"]
        assert time.monotonic() - began_s < 4 * 1.5, "in time for the watchdog"
        assert hall.agent.process is not None
        os.kill(hall.agent.process.pid, signal.SIGSTOP)  # as a loop that stands still
        door.settimeout(1.5)
        assert len(rest(door)) <= 2, "what was on its way, and then nothing"
        os.kill(hall.agent.process.pid, signal.SIGCONT)
        door.settimeout(10.0)
        assert door.recv(100) == b"WATCHDOG=1"
        assert hall.agent.stop(within_s=3.0) == 0
        said = [door.recv(100)]
        while said[-1] == b"WATCHDOG=1":
            said.append(door.recv(100))
        assert said[-1] == b"STOPPING=1"


def test_without_a_manager_or_with_one_that_is_gone_nothing_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({}).ready()
    assert not caplog.text
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "3000000"})
    gone.ready()
    gone.beat()
    assert "the service manager cannot be told READY=1" in caplog.text
    assert "WATCHDOG=1" in caplog.text


def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(0.2)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
        Notifier(environment | {"WATCHDOG_PID": "1"}).beat()
        with pytest.raises(TimeoutError):
            door.recv(100)
        Notifier(environment | {"WATCHDOG_PID": str(os.getpid())}).beat()
        assert door.recv(100) == b"WATCHDOG=1"


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    write(file, Answers(WINDOW, HOST, free_port()))
    return file


def systemd(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def service(*words: str) -> str:
    done = CliRunner().invoke(cli.app, ["service", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_is_installed_again_and_removed_without_a_trace(tmp_path: Path, config: Path) -> None:
    systemd("systemctl", "--version")
    root = tmp_path / "root"
    for _ in range(2):
        service("install", "-c", str(config), "--root", str(root))
        link = root / "etc/systemd/system/multi-user.target.wants" / f"{linux.NAME}.service"
        assert link.is_symlink(), "starts with the machine"
        assert (root / linux.RULES).exists()
    service("install", "--root", str(root))
    assert linux.installed_config(root) == config, "the service keeps its configuration"
    assert "removed" in service("remove", "--root", str(root))
    assert [path for path in root.rglob("*") if not path.is_dir()] == []
    assert "not installed" in service("remove", "--root", str(root))
    assert config.exists()


def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path, config: Path) -> None:
    service("install", "-c", str(config), "--root", str(tmp_path / "root"))
    file = str(tmp_path / "root" / linux.UNIT)
    assert systemd("systemd-analyze", "verify", file) == ""
    said = systemd("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", file)
    (score,) = re.findall(r"Overall exposure level for .*: ([0-9.]+) ", said)
    page = (ROOT / "docs" / "linux.md").read_text(encoding="utf-8")
    assert (f"评分 {score}（" in page, f"{score} of 10" in page) == (True, True), "the page says what is measured"
    rule = (tmp_path / "root" / linux.RULES).read_text(encoding="utf-8")
    assert 'ENV{ID_MM_DEVICE_IGNORE}="1"' in rule


def test_where_systemd_does_not_run_nothing_is_written(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(linux, "BOOTED", tmp_path / "not-booted")
    with pytest.raises(AgentError, match="systemd does not run this machine"):
        service("install", "-c", str(config))
    assert not (Path("/") / linux.UNIT).exists()
    assert linux.state() == "not installed"


@pytest.mark.parametrize("name", ["with blank", "percent%", 'quote"', "back\\slash"])
def test_a_path_that_systemd_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    write(folder / "agent.toml", Answers(WINDOW, HOST, 1))
    with pytest.raises(AgentError, match="has a blank or special character"):
        service("install", "-c", str(folder / "agent.toml"), "--root", str(tmp_path / "root"))
    assert not (tmp_path / "root").exists()


# --- what the unit allows -------------------------------------------------------------------------------------------


def allowed_calls() -> set[str]:
    """Return the system calls that the unit's filter lets through, its groups taken apart."""
    groups: dict[str, set[str]] = {}
    name = ""
    for line in systemd("systemd-analyze", "syscall-filter", "--no-pager").splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            groups[name] = set()
        elif line.startswith(" ") and word and not word.startswith("#"):
            groups[name].add(word)

    def calls(group: str) -> set[str]:
        return {call for word in groups[group] for call in (calls(word) if word.startswith("@") else {word})}

    text = linux.unit("python", Path("/c"), Path("/d"))
    allowed = calls("@default")  # always
    for words in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        taken = set().union(*(calls(group) for group in words.lstrip("~").split()))
        allowed = allowed - taken | calls("@default") if words.startswith("~") else allowed | taken
    return allowed


def test_a_working_agent_makes_no_call_that_its_unit_forbids(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    allowed = allowed_calls()
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as hall:
        hall.start()
        assert hall.agent.process is not None
        hall.agent.kill()
        trace = tmp_path / "trace"
        command = ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "host_agent", "run", "--config"]
        traced = subprocess.Popen([*command, str(hall.agent.config)], stdout=subprocess.PIPE, text=True)
        assert traced.stdout is not None
        hall.agent.url = traced.stdout.readline().split()[1]
        hall.await_talking()
        hall.device.press(0)
        hall.await_collected(1)
        hall.device.unplug()
        eventually("it has noticed", lambda: hall.status()["link"] != "talking")
        hall.device.plug_in()
        hall.await_talking()
        children = Path(f"/proc/{traced.pid}/task/{traced.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert traced.wait(20) == 0
        traced.stdout.close()
    text = trace.read_text(encoding="utf-8", errors="replace")
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?([a-z_0-9]+)", text, re.MULTILINE)) - {"exit", "killed"}
    assert {"openat", "fdatasync", "sendto"} <= made, "something was traced"
    # root's SQLite gives new files the owner of the old ones; the service is not root
    assert made - allowed - {"fchown"} == set()
    assert not re.search(r"PROT_WRITE\|PROT_EXEC", text), "memory that can be written and executed is forbidden too"
    families = set(re.findall(r"socket\((AF_[A-Z0-9]+)", text))
    assert families <= {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
