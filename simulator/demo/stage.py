"""Everything the demo consists of, started in order and stopped in the other.

Broker, collector and agent are the real programs as child processes, the device runs the real firmware. All data lies in one
folder: started again, the demo goes on where it was.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from simulator.device.engine import default_engine
from simulator.device.simulated import SimulatedDevice
from simulator.services import HOST, Service, free_port, python_service, start_nats

AREA, HALL, WINDOW = "533103", "mangshi", "07"
DEVICE = "PJQ-DEMO-07"
BROKER_PORT = 18830
API_PORT = 17610

OURS = frozenset(
    {
        "agent", "agent.log", "agent.toml", "broker.log", "collector", "collector.log", "collector.toml",
        "device", "device-port", "hall.key", "jetstream", "nats.conf", "running",
    }
)  # fmt: skip
"""Every name that the demo makes in its folder; it starts in, and deletes from, no folder that holds anything else."""

Say = Callable[[str], None]


class StageInUse(Exception):
    """Another demo runs on the same folder."""


def _delete_data(folder: Path) -> None:
    """Delete what the demo has made in `folder`, and nothing else."""
    for name in OURS - {"running"}:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _refuse_foreign(folder: Path) -> None:
    """Raise unless the folder is empty or holds nothing but what the demo makes."""
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in OURS)
    if foreign:
        raise StageInUse(
            f"{folder} 中有其他文件（{foreign[0]} 等），请用 --folder 另选空目录 holds something that is not the demo's "
            f"({foreign[0]}); choose an empty folder with --folder"
        )


class Stage:
    """Start with `start`, end with `stop`; the addresses are there in between. `anew` forgets the data of before."""

    def __init__(
        self, folder: Path, say: Say, listener: Callable[[str, int], None] | None = None, *, anew: bool = False
    ) -> None:
        self._folder = folder.resolve()
        self._anew = anew
        self._say = say
        self._listener = listener
        self._services: list[Service] = []
        self._lock: int | None = None
        self.device: SimulatedDevice | None = None
        self.agent_url = self.agent_token = self.collector_url = ""

    def start(self, page_origins: list[str]) -> None:
        """Start everything; `page_origins` are the pages that may call the agent and embed the collector."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(self._folder)
        self._take_folder()
        if self._anew:
            _delete_data(self._folder)
        hall_key = self._hall_key()
        port = free_port(BROKER_PORT)
        self._say("消息服务器 broker (NATS JetStream, MQTT)")
        self._services.append(start_nats(self._folder, port))
        self._write_configs(port, page_origins)
        collector = python_service("collector", "collector", self._folder / "collector.toml", self._folder)
        agent = python_service("agent", "host_agent", self._folder / "agent.toml", self._folder)
        for service in (collector, agent):
            self._services.append(service)
            service.start()
        self._say("归集端 collector")
        self.collector_url = collector.ready_url()
        self._say("窗口代理程序 agent")
        self.agent_url = agent.ready_url()
        self.agent_token = (self._folder / "agent" / "api-token").read_text(encoding="ascii").strip()
        self._say(f"评价器 device ({default_engine().RUNS_ON})")
        self.device = SimulatedDevice(self._folder / "device", DEVICE, hall_key, self._device_port(), listener=self._listener)
        self.device.plug_in()

    def stop(self) -> None:
        """Stop everything that was started, the last first."""
        if self.device is not None:
            self.device.close()
            self.device = None
        while self._services:
            self._services.pop().stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            (self._folder / "running").unlink(missing_ok=True)

    def _take_folder(self) -> None:
        path = self._folder / "running"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(self._lock, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            self._lock = None
            raise StageInUse(
                f"{self._folder} 的演示已在运行，请先停止它或用 --folder another demo uses this folder; "
                "stop it or choose another with --folder"
            ) from error

    def _hall_key(self) -> bytes:
        path = self._folder / "hall.key"
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
        return bytes.fromhex(path.read_text(encoding="ascii").strip())

    def _device_port(self) -> str:
        has_terminals = sys.platform != "win32"
        return (self._folder / "device-port").as_posix() if has_terminals else f"socket://{HOST}:{self._tcp_port}"

    def _write_configs(self, broker_port: int, page_origins: list[str]) -> None:
        self._tcp_port = free_port()
        origins = ", ".join(f'"{origin}"' for origin in page_origins)
        (self._folder / "collector.toml").write_text(
            f'data_dir = "collector"\n\n[mqtt]\nport = {broker_port}\n\n[halls."{AREA}/{HALL}"]\nkey_file = "hall.key"\n\n'
            f"[http]\nport = 0\nembed_origins = [{origins}]\n",
            encoding="utf-8",
        )
        (self._folder / "agent.toml").write_text(
            f'data_dir = "agent"\n\n[place]\narea = "{AREA}"\nhall = "{HALL}"\nwindow = "{WINDOW}"\n\n'
            f'[device]\nport = "{self._device_port()}"\n\n'
            f"[mqtt]\nport = {broker_port}\n\n[api]\nport = {free_port(API_PORT)}\norigins = [{origins}]\n",
            encoding="utf-8",
        )
