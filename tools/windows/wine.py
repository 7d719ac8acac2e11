r"""One Windows under wine: its own registry, services and COM ports in a folder, ended with everything that runs in it.

    with Wine(folder) as windows:
        windows.run(exe, "status")                 # a CompletedProcess; a path of this machine is known there as Z:\…
        windows.connect("COM5", pty)               # a serial port is a link to a pseudo-terminal
        windows.restart()                          # off and on again: services that start by themselves do

It is booted before anything else is run in it, or the services that boot starts would hold the first command's pipes for ever.
A command's output is a pipe always: programs under wine do not get along with files there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.windows.interpreter import CannotBuild, compile_c
from tools.windows.kept import KEEP

_RANDOM_DLL = """\
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) { return SystemFunction036(bytes, (ULONG)count); }
"""
"""bcryptprimitives.dll, which wine 8 lacks and packages made with Rust call; part of Windows 10."""
BOOT_S, COMMAND_S = 120.0, 120.0


class Wine:
    """A Windows of the People's Republic, whose ANSI code page is 936 (GBK), or with `chinese=False` a Western one (1252)."""

    def __init__(self, folder: Path, *, chinese: bool = True) -> None:
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._locale = _chinese_locale() if chinese else None

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to run in this Windows."""
        ours = {
            "WINEPREFIX": str(self.folder),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree=;mshtml=",  # or boot asks whether to fetch them
            "DISPLAY": "",
        }
        rest = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HCP_", "LC_", "LANG"))}
        spoken = {"LC_ALL": self._locale.name, "LOCPATH": str(self._locale.parent)} if self._locale else {}
        return rest | ours | spoken

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.off()

    def boot(self) -> None:
        """Switch it on and wait until it is up; a new one becomes a Windows 10."""
        is_new = not (self.folder / "system.reg").exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._server = subprocess.Popen(["wineserver", "-f", "-p"], env=self.environment, **quiet)  # type: ignore[call-overload]  # one int three times
        subprocess.run(["wine", "wineboot"], env=self.environment, timeout=BOOT_S, check=True, **quiet)  # type: ignore[call-overload]  # as above
        if is_new:
            compile_c(_RANDOM_DLL, self.here(r"C:\windows\system32\bcryptprimitives.dll"), "-shared", after=("-ladvapi32",))
            self.be("win10")

    def be(self, version: str) -> None:
        """Be another version of Windows, such as `win7`."""
        assert self.run("winecfg", "-v", version).returncode == 0  # noqa: S101  # wine's own program

    def off(self) -> None:
        """Take its power away: every process in it is gone when this returns. Safe to repeat."""
        if self._server is None:
            return
        subprocess.run(["wineserver", "-k"], env=self.environment, timeout=30, check=False)
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def restart(self) -> None:
        """Off and on again, as after a power cut."""
        self.off()
        self.boot()

    def run(self, *command: str | Path, within_s: float = COMMAND_S, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Windows to its end; what it says comes back, and its exit code is for the caller to look at."""
        words = ["wine", *(str(word) for word in command)]
        return subprocess.run(
            words,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="gbk" if self._locale else "cp1252",
            errors="replace",
            timeout=within_s,
            check=False,
        )

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a program of Windows; its output is a pipe that the caller reads."""
        words = ["wine", *(str(word) for word in command)]
        return subprocess.Popen(
            words,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="gbk" if self._locale else "cp1252",
            errors="replace",
        )

    def connect(self, port: str, line: Path) -> None:
        """Have a COM port be the pseudo-terminal that is, or will be, under the path `line`."""
        link = self.folder / "dosdevices" / port.lower()
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(line)

    def here(self, path: str) -> Path:
        r"""Return where this machine keeps a path of that Windows, such as C:\ProgramData."""
        drive, _, rest = path.partition(":")
        return self.folder / "dosdevices" / f"{drive.lower()}:" / rest.replace("\\", "/").lstrip("/")

    def processes(self, name: str) -> list[int]:
        """Return this machine's ids of the processes in this Windows whose program is called `name`."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                program = words[0].replace(b"\\", b"/").rpartition(b"/")[2].decode(errors="replace")
                if program == name and f"WINEPREFIX={self.folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found


def _chinese_locale() -> Path:
    """Return the folder of a Chinese locale of this machine, from which wine takes the language; made unless it is there."""
    folder = KEEP / "locale" / "zh_CN.UTF-8"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            ["localedef", "-i", "zh_CN", "-f", "UTF-8", str(folder)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise CannotBuild(f"no Chinese locale: apt install locales\n{made.stderr}")
    return folder


def there(path: Path) -> str:
    """Return the name by which a Windows under wine knows a path of this machine."""
    return "Z:" + str(path.resolve()).replace("/", "\\")


def wait_until_gone(windows: Wine, name: str, within_s: float) -> bool:
    """Wait until no process of that name is left; tell whether that came true."""
    deadline = time.monotonic() + within_s
    while windows.processes(name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
