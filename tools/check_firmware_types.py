"""Check the firmware's types against the MicroPython stubs: `python -m tools.check_firmware_types`.

The stub packages put their files beside everything else in site-packages, where mypy prefers CPython's own standard
library. So they are copied into a folder of their own, which then serves mypy as its only typeshed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPINGS = ROOT / "build" / "typings"
PACKAGES = ("micropython-stdlib-stubs", "micropython-rp2-rpi-pico-stubs")


def copy_stubs() -> None:
    """Lay out both stub packages below TYPINGS, the board's own after the general ones."""
    shutil.rmtree(TYPINGS, ignore_errors=True)
    for package in PACKAGES:
        for file in files(package) or ():
            if file.suffix == ".pyi" or file.name == "VERSIONS":
                target = TYPINGS / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)


def main() -> int:
    """Run mypy; return its exit code."""
    copy_stubs()
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "tools" / "mypy-firmware.ini")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
