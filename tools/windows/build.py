"""Make the agent's program for Windows and its setup.exe: `python -m tools.windows.build [--out DIR]`.

On Windows with the Python that runs this (`pip install --require-hashes -r tools/requirements/windows.txt`, and NSIS), on Linux with
a Windows Python under wine (`interpreter`). What was made is kept (`kept`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from host_agent import AGENT_VERSION
from tools.windows import interpreter
from tools.windows.interpreter import CannotBuild
from tools.windows.kept import ROOT, kept
from tools.windows.wine import Wine, there

HERE = Path(__file__).parent
OURS = ("host_agent", "protocol")
STATIC = ROOT / "host_agent" / "api" / "static"
LEFT_OUT = (
    "tkinter",
    "PIL",
    "pip",
    "setuptools",
    "pkg_resources",
    "pythonwin",
    "win32com",
    "win32ui",
    "IPython",
    "numpy",
    "pytest",
    "tzdata",
)
"""Modules that some dependency can make use of and the agent does not."""
STUBS = (Path("/usr/share/nsis/Stubs"),)
TARGET = "amd64-unicode"
"""Some makensis know it. A setup.exe of 32 bits does the same, but not every wine runs it."""


def key() -> str:
    """Return a name for all that goes into the program."""
    digest = hashlib.sha256(b"" if os.name == "nt" else str(interpreter.make()).encode())
    for file in sorted(path for room in (*OURS, HERE / "hooks") for path in (ROOT / room).rglob("*.py")):
        digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:12]


def program(windows: Wine | None = None) -> Path:
    """Return the folder with agent.exe, made unless it is there; on Linux in `windows`, or one for the purpose."""
    return kept("program", key(), partial(_freeze, windows=windows))


def setup(out: Path, made: Path, version: str = AGENT_VERSION, *, quick: bool = False) -> Path:
    """Make setup.exe at `out` from the folder of a program; a quick one is larger."""
    makensis = shutil.which("makensis") or shutil.which("makensis", path=r"C:\Program Files (x86)\NSIS")
    if makensis is None:
        raise CannotBuild("makensis not installed: apt install nsis, or NSIS from its own site on Windows")
    words = {"VERSION": version, "PROGRAM": str(made), "OUT": str(out)} | ({"QUICK": "1"} if quick else {})
    if any((folder / f"lzma_solid-{TARGET}").exists() for folder in STUBS):
        words["TARGET"] = TARGET
    out.parent.mkdir(parents=True, exist_ok=True)
    options = ["-V2", "-WX", "-INPUTCHARSET", "UTF8", *(f"-D{name}={value}" for name, value in words.items())]
    _must(subprocess.run([makensis, *options, str(HERE / "setup.nsi")], capture_output=True, text=True, check=False))
    return out


def _freeze(scratch: Path, windows: Wine | None) -> Path:
    path = str if os.name == "nt" else there
    options = [
        "--noconfirm", "--onedir", "--console", "--noupx", "--name", "agent", "--log-level", "WARN",
        "--distpath", path(scratch / "dist"), "--workpath", path(scratch / "work"), "--specpath", path(scratch),
        "--paths", path(ROOT), "--hidden-import", "host_agent.service.windows_host", "--additional-hooks-dir", path(HERE / "hooks"),
        "--add-data", f"{path(STATIC)};host_agent/api/static",
        *(word for module in LEFT_OUT for word in ("--exclude-module", module)),
        path(ROOT / "host_agent" / "__main__.py"),
    ]  # fmt: skip
    if os.name == "nt":
        _must(subprocess.run([sys.executable, "-m", "PyInstaller", *options], capture_output=True, text=True, check=False))
    else:
        with Wine(scratch / "prefix") if windows is None else contextlib.nullcontext(windows) as windows:
            _must(windows.run(interpreter.make(), "-m", "PyInstaller", *options, within_s=600, PYTHONUTF8="1"))
    return scratch / "dist" / "agent"


def _must(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise CannotBuild(f"{' '.join(done.args[:4])} … failed:\n{(done.stdout + done.stderr)[-3000:]}")


def main(arguments: list[str]) -> int:
    """Make both and say where they are."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.windows.build", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where setup.exe goes")
    out = parser.parse_args(arguments).out
    try:
        made = program()
        done = setup(out.resolve() / f"haochaping-agent-{AGENT_VERSION}-setup.exe", made)
    except (CannotBuild, OSError) as error:
        print(f"无法生成 cannot be made: {error}")
        return 1
    print(f"程序 program: {made}\n安装包 setup: {done} ({done.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
