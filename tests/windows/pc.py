"""A window PC with Windows, and a hall on this machine: the device is on its COM port, broker and collector in the network."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.hall import Hall, eventually
from tools.windows.wine import Wine, there

ROOT = Path(__file__).parents[2]
MARKER = "only-in-the-earlier-version"
PROGRAM = r"C:\Program Files\Haochaping"
DATA = r"C:\ProgramData\Haochaping"
AGENT = rf"{PROGRAM}\program\agent.exe"
PORT = "COM5"
PAGE = (ROOT / "docs" / "windows.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Setups:
    """Each a setup.exe."""

    earlier: Path
    now: Path
    broken: Path
    blocked: Path


class WindowPC:
    """`windows` with the device of `hall` on COM5. What the page tells to type is typed by `type`."""

    def __init__(self, windows: Wine, hall: Hall, data: str = "data") -> None:
        self.windows = windows
        self.hall = hall
        self.typed: set[str] = set()
        self.home = windows.here(DATA)
        self.program = windows.here(PROGRAM)
        windows.connect(PORT, hall.port)
        self.keeps_data_in(data)

    def keeps_data_in(self, name: str) -> None:
        """Say which folder the configuration names."""
        self.data = self.hall.data_dir = self.home / name

    def type(self, line: str, instead: dict[str, str], expect: int = 0) -> str:
        """Type a line of the page, with some of its words replaced by those of this test; return what it says."""
        assert line in commands(), f"not on the page: {line}"
        self.typed.add(line)
        for word, mine in instead.items():
            assert word in line, f"{word} is not in {line}"
            line = line.replace(word, mine)
        done = self.windows.run(*(quoted or bare for quoted, bare in re.findall(r'"([^"]+)"|(\S+)', line)), within_s=90)
        assert done.returncode == expect, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}{self.log()}{self.setup_log()}"
        return done.stdout

    def agent(self, *words: str, expect: int = 0) -> str:
        """Run agent.exe."""
        done = self.windows.run(AGENT, *words)
        assert done.returncode == expect, done.stdout + done.stderr + self.log()
        return done.stdout

    def setup(self, setup: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a setup.exe silently, to its end."""
        return self.windows.run(setup, "/S", *words, within_s=90)

    def log(self) -> str:
        """Return the service's log."""
        file = self.home / "logs" / "agent.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def setup_log(self) -> str:
        """Return what setup.exe has noted."""
        file = self.program / "setup.log"
        return file.read_text(encoding="utf-16") if file.exists() else ""

    def await_talking(self) -> None:
        """Find where the API of the agent that runs now is, and wait until it talks to device and broker."""
        eventually("the API answers", self._answers)
        self.hall.await_talking()

    def _answers(self) -> bool:
        try:
            port = (self.data / "api-port").read_text(encoding="ascii")  # each time: a killed agent leaves its own behind
            self.hall.agent.url = f"http://127.0.0.1:{port}"
            return self.hall.ask("GET", "/v1/status").status_code == 200
        except (OSError, httpx.HTTPError, httpx.InvalidURL):
            return False

    def is_installed(self) -> bool:
        """Tell whether the service manager of this Windows knows the agent."""
        key = r"HKLM\SYSTEM\CurrentControlSet\Services\HaochapingAgent"
        return self.windows.run("reg", "query", key).returncode == 0

    def processes(self) -> list[int]:
        """Return the ids that running agents have on this machine."""
        return self.windows.processes("agent.exe")


def commands() -> list[str]:
    """Return the lines of the page that are to be typed."""
    return re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)


def prepare(folder: Path, hall: Hall, data: str) -> str:
    """Make a prepared configuration as an IT department would, with a login's password; return how that Windows calls its folder."""
    folder.mkdir()
    (folder / "mqtt.password").write_text("hunter2", encoding="ascii")
    (folder / "agent.toml").write_text(
        f'data_dir = "{data}"\n[mqtt]\nport = {hall.broker.port}\nusername = "window"\npassword_file = "mqtt.password"\n'
        f'[place]\narea = "533103"\nhall = "dating"\nwindow = "07"\n[device]\nport = "{PORT}"\n[api]\nport = 0\n',
        encoding="utf-8-sig",  # as Notepad does
    )
    return there(folder)
