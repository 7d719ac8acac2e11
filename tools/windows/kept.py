"""What was made for Windows, kept below build/windows under a name made of all that went into it.

A folder with such a name is whole, and is made once however many processes want it at the same time. Of each kind the two that were
wanted last stay: one has 120 MB and more, and every change of a source makes another.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
KEEP = ROOT / "build" / "windows"
MOST = 2


def kept(kind: str, key: str, make: Callable[[Path], Path]) -> Path:
    """Return the folder of a kind, made unless it is there: `make` is given a folder to work in and returns the one to be kept."""
    KEEP.mkdir(parents=True, exist_ok=True)
    folder, making = KEEP / f"{kind}-{key}", f"making-{kind}-"
    with FileLock(KEEP / f"{kind}.lock"):
        for left in KEEP.glob(f"{making}*"):  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=KEEP, prefix=making) as scratch:
                make(Path(scratch)).rename(folder)
        os.utime(folder)
        by_use = sorted(KEEP.glob(f"{kind}-*"), key=lambda one: one.stat().st_mtime_ns)
        for old in by_use[:-MOST]:
            going = old.rename(KEEP / f"{making}{old.name}")  # what is half deleted has not the name of something whole
            shutil.rmtree(going, ignore_errors=True)
    return folder
