"""A window PC's life on Debian: the package is installed, configured, upgraded, removed and purged, and no rating is lost on the way.

In a root of its own, laid over this machine's for as long as the test runs: dpkg, the maintainer scripts, systemd's own tools and the
paths are real. No systemd runs there, so the unit's command is started as its account, by this test, which is also the socket that
hears its notifications.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_agent import AGENT_VERSION
from tests.brokers import start_nats
from tests.hall import ROOT, Hall, eventually
from tools import deb

if os.name == "nt":
    pytest.skip("the package is Debian's", allow_module_level=True)
assert sys.platform != "win32"
if os.geteuid() != 0 or shutil.which("dpkg-deb") is None or not Path("/usr/bin/python3.11").exists():
    pytest.skip("needs root on Debian 12", allow_module_level=True)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # six times dpkg in another root, and the building of two packages

NAME, ACCOUNT = "haochaping-agent", "haochaping"
WITHIN_S = 30
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Machine:
    """Another root over this one's, in a mount namespace that a process holds open."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        script = (
            f"mount -t tmpfs tmpfs {folder} && cd {folder} && mkdir up work root"
            " && mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root"
            " && mount --rbind /dev root/dev && mount --rbind /proc root/proc && mount --bind /tmp root/tmp"
            " && echo mounted && exec cat"
        )
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "mounted\n"

    def command(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self._holder.pid), "--mount", "chroot", str(self.root), *command]

    def run(self, *command: str, code: int = 0, **more: str) -> str:
        """Run a command there; return what it says."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **more,
        }
        done = subprocess.run(
            self.command(*command),
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def exists(self, path: str) -> bool:
        return subprocess.run(self.command("test", "-e", path), check=False).returncode == 0

    def close(self) -> None:
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait(10)
        assert self._holder.stdout is not None
        self._holder.stdout.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may look into, for what the service shares with this test."""
    folder = Path(tempfile.mkdtemp(prefix="deb-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    folder = tmp_path / "machine"
    folder.mkdir()
    made = Machine(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The package as it is, and one of an earlier version, where the other root sees them."""
    with tempfile.TemporaryDirectory(prefix="debs-", dir="/tmp") as folder:
        now = deb.build(Path(folder))
        tree = tmp_path_factory.mktemp("older") / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", now, tree], check=True)
        control = tree / "DEBIAN" / "control"
        control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.1", control.read_text(), flags=re.M))
        older = Path(folder) / "older.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, older], check=True, stdout=subprocess.DEVNULL)
        yield now, older


class Service:
    """The unit's command, started as systemd starts it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        unit = machine.run("cat", f"/usr/lib/systemd/system/{NAME}.service")
        (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
        account = re.findall(r"^(User|SupplementaryGroups)=(\S+)$", unit, re.M)
        assert account == [("User", ACCOUNT), ("SupplementaryGroups", "dialout")]
        notify = folder / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, (folder / "agent.log").open("ab") as log:
            door.bind(str(notify))
            notify.chmod(0o666)
            door.settimeout(WITHIN_S)
            command = [
                "setpriv",
                f"--reuid={ACCOUNT}",
                f"--regid={ACCOUNT}",
                "--groups=dialout",
                "--no-new-privs",
                *line.split(),
            ]
            self._process = subprocess.Popen(
                machine.command(*command), env={**ENVIRONMENT, "NOTIFY_SOCKET": str(notify)}, stdout=log, stderr=log
            )
            try:
                said = door.recv(100)
            except TimeoutError:
                self.kill()
                raise AssertionError((folder / "agent.log").read_text()) from None
        assert said == b"READY=1"

    def stop(self) -> None:
        """As systemd does it; within three seconds."""
        self._process.terminate()
        assert self._process.wait(3.0) == 0

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def test_a_window_pc_from_installation_to_purge(
    machine: Machine, packages: tuple[Path, Path], tmp_path: Path, open_folder: Path
) -> None:
    now, older = packages
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as hall:
        hall.collector.start()
        hall.device.plug_in()
        port = open_folder / "device"
        port.symlink_to(hall.port.resolve())  # the terminal itself
        shutil.chown(port.resolve(), group="dialout")  # as udev does it with a serial port
        port.resolve().chmod(0o660)
        install(machine, older)
        configure(machine, f"127.0.0.1:{hall.broker.port}", port, open_folder / "old.db")
        upgrade_while_ratings_wait(machine, hall, now, open_folder)
        remove_and_install_again(machine, now)
        purge(machine, now)


def install(machine: Machine, package: Path) -> None:
    assert "init" in machine.run("dpkg", "-i", str(package))
    assert machine.exists(f"/etc/systemd/system/multi-user.target.wants/{NAME}.service")
    assert machine.run("stat", "-c", "%U %a", "/var/lib/haochaping").split() == [ACCOUNT, "700"]
    machine.run("systemd-analyze", "verify", f"/usr/lib/systemd/system/{NAME}.service")
    machine.run(NAME, "doctor", code=1)  # not configured yet


def configure(machine: Machine, broker: str, port: Path, old: Path) -> None:
    """With a database of an earlier schema, made at `old`."""
    options = f"--area 533103 --hall dating --window 07 --broker {broker} --device-port {port} --password-stdin"
    machine.run("sh", "-c", f"echo geheim | {NAME} init {options}")
    assert machine.run("stat", "-c", "%U %G %a", "/etc/haochaping/mqtt.password").split() == ["root", ACCOUNT, "640"]
    machine.run("sh", "-c", "umask 077; echo secret > /etc/haochaping/window.key")
    machine.run("systemd-tmpfiles", "--create", f"{NAME}.conf")
    assert machine.run("stat", "-c", "%U %G %a", "/etc/haochaping/window.key").split() == ["root", ACCOUNT, "640"]
    machine.run("sed", "-i", "s/^#port = 17610/port = 0/", "/etc/haochaping/agent.toml")
    dump = sorted((ROOT / "tests" / "upgrade").glob("agent-*.sql"))[-1]
    with contextlib.closing(sqlite3.connect(old)) as connection:
        lines = dump.read_text().splitlines()
        others = [line for line in lines if not re.match('INSERT INTO "(records|devices)"', line)]
        connection.executescript("\n".join(others))
    machine.run("install", "-o", ACCOUNT, "-m", "600", str(old), "/var/lib/haochaping/agent.db")
    assert "错误" not in machine.run(NAME, "config", "check")


def upgrade_while_ratings_wait(machine: Machine, hall: Hall, now: Path, open_folder: Path) -> None:
    service = Service(machine, open_folder)
    try:
        hall.device.press(0)
        hall.await_collected(1)
        hall.collector.kill()
        hall.device.press(4)
        hall.device.press(2)
        eventually("two wait", lambda: waiting(machine) == 2)
        assert "PJ-0001" in machine.run(NAME, "status")
        service.stop()
        machine.run("dpkg", "-i", str(now))
        assert machine.run("dpkg-query", "-W", "-f", "${Version}", NAME) == AGENT_VERSION
        hall.collector.start()
        service = Service(machine, open_folder)
        hall.await_collected(3)
        eventually("nothing waits", lambda: machine.run(NAME, "db", "check") and waiting(machine) == 0)
        service.stop()
    finally:
        service.kill()


def remove_and_install_again(machine: Machine, package: Path) -> None:
    """Configuration and data stay, and are used again."""
    machine.run("dpkg", "-r", NAME)
    assert not machine.exists("/usr/lib/haochaping")
    assert not machine.exists(f"/etc/systemd/system/multi-user.target.wants/{NAME}.service")
    assert machine.exists("/etc/haochaping/agent.toml")
    machine.run("dpkg", "-i", str(package))
    assert waiting(machine) == 0


def purge(machine: Machine, package: Path) -> None:
    """What has not been collected is kept, everything else goes."""
    sql(machine, "UPDATE records SET state = 0 WHERE id = (SELECT max(id) FROM records)")
    assert "1 条评价尚未归集" in machine.run("dpkg", "-P", NAME)
    assert machine.exists("/var/lib/haochaping/agent.db")
    assert not machine.exists("/etc/haochaping")
    machine.run("dpkg", "-i", str(package))
    sql(machine, "UPDATE records SET state = 2")
    machine.run("dpkg", "-P", NAME)
    rules = "/usr/lib/udev/rules.d/99-haochaping.rules"
    for path in ("/var/lib/haochaping", "/etc/haochaping", "/usr/lib/haochaping", f"/usr/bin/{NAME}", rules):
        assert not machine.exists(path), path


def sql(machine: Machine, statement: str) -> str:
    """Run a statement on the agent's database there; return the first value."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect('/var/lib/haochaping/agent.db', isolation_level=None);"
        " print((c.execute(sys.argv[1]).fetchone() or [''])[0])"
    )
    return machine.run("python3", "-c", code, statement).strip()


def waiting(machine: Machine) -> int:
    return int(sql(machine, "SELECT count(*) FROM records WHERE state < 2"))


def test_a_place_where_nothing_can_be_made_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert deb.main(["--out", "/proc/nowhere"]) == 1
    assert "无法生成 cannot be made" in capsys.readouterr().out
