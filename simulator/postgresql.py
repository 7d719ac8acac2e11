"""A PostgreSQL server of one's own: made in a folder, on one loopback port, gone when it is stopped.

    cluster = Cluster(folder)                # initdb, a second or two
    cluster.start()
    url = cluster.create("ratings")          # an empty database; its url
    cluster.kill()                           # kill -9 of the whole server

The server never runs as root, as which it refuses to: it becomes `postgres` or `nobody`. Every connection from this machine is
trusted, so this is for the demo's sisters and for tests, never for a hall. Commits are synced as anywhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.services import HOST, START_S, STOP_S, ServiceFailed, free_port

POLL_S = 0.05
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 40
shared_buffers = 16MB
min_wal_size = 4MB
max_wal_size = 16MB
timezone = 'UTC'
"""


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest of Debian's if several are there; None without any."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _other_user() -> dict[str, Any]:
    """Return as whom the server has to run, as arguments of subprocess; nothing when it can be ourselves."""
    if sys.platform != "win32" and os.geteuid() == 0:
        import pwd

        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = known.get("postgres") or known["nobody"]
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


class Cluster:
    """One server and its data below `folder`, which must be empty or not there, and reachable for that user."""

    def __init__(self, folder: Path) -> None:
        found = programs()
        if found is None:
            raise ServiceFailed("缺少 PostgreSQL no PostgreSQL: apt-get install postgresql")
        self._bin = found
        self._as = _other_user()
        self.port = free_port()
        self.data = folder / "data"
        self.log = folder / "postgresql.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if self._as:
            shutil.chown(folder, self._as["user"])
        made = self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                         "--wal-segsize=1", "--no-sync")  # fmt: skip
        if made.returncode:
            raise ServiceFailed(f"数据库未能建立 initdb failed:\n{made.stderr[-2000:]}")
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write(f"{_SETTINGS}port = {self.port}\n")

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "start comes first"  # noqa: S101  # a programming error, not input
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; also after a kill, when it first repairs itself."""
        self.launch()
        deadline = time.monotonic() + START_S
        while not self.answers():
            if time.monotonic() > deadline:
                text = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                self.kill()
                raise ServiceFailed(f"数据库未能启动 PostgreSQL did not start:\n{text}")
            if not self.is_running():
                self.launch()  # after a kill its last children may still hold the memory that it needs
            time.sleep(POLL_S)

    def launch(self) -> None:
        """Start the server without waiting for it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.data.parent,
                **self._as,
            )

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        return self._run("pg_isready", "-q", "-h", HOST, "-p", str(self.port)).returncode == 0

    def is_running(self) -> bool:
        """Tell whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def create(self, name: str, template: str = "template0") -> str:
        """Make a database and return its url."""
        made = self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        if made.returncode:
            raise ServiceFailed(made.stderr)
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the url of a database."""
        return f"postgresql://postgres@{HOST}:{self.port}/{name}"

    def sql(self, text: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        """Run statements with psql."""
        return self._run(
            "psql", "-X", "-q", "-A", "-t", "-h", HOST, "-p", str(self.port), "-U", "postgres", "-d", database, "-c", text
        )

    def signal_all(self, number: int) -> None:
        """Send a signal to the server and its children, each of which has a session of its own; Linux only."""
        if not self.is_running():
            return
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        for pid in (self.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """End it politely, by force after a few seconds; safe to repeat."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)  # fast shutdown
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it without a chance to write anything; its children notice and go. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
            cwd=self.data.parent,
            **self._as,
        )


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a server in a new folder that its user can reach, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="haochaping-postgresql-"))
    os.chmod(folder, 0o711)  # noqa: S103  # the server's user has to pass through
    cluster = Cluster(folder / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)
