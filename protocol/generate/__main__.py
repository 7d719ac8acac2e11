"""`python -m protocol.generate` writes every generated file; `--check` writes nothing and exits 1 when one is stale.

Called by developers after a change of the contract, and by a test that keeps the committed files current.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from protocol.generate import asyncapi, device_codec, dissector, page, vectors

ROOT = Path(__file__).resolve().parents[2]
FILES: dict[str, Callable[[], str]] = {
    asyncapi.PATH: asyncapi.generate,
    device_codec.PATH: device_codec.generate,
    dissector.PATH: dissector.generate,
    page.PATH: page.generate,
    vectors.PATH: vectors.generate,
}
"""Every generated file, relative to the root of the repository, and what makes its text."""


def stale_files(root: Path = ROOT) -> list[str]:
    """Return the generated files that are missing or differ from what this tree would write."""
    return [path for path, make in FILES.items() if _bytes_of(root / path) != make().encode("utf-8")]


def write_files(root: Path = ROOT) -> list[str]:
    """Write every stale file and return their names."""
    written = stale_files(root)
    for path in written:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(FILES[path]().encode("utf-8"))
    return written


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m protocol.generate", description="Write all files derived from the contract."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name every file that is stale")
    options = parser.parse_args(arguments)
    if options.check:
        stale = stale_files()
        for path in stale:
            sys.stderr.write(f"stale: {path}\n")
        if stale:
            sys.stderr.write("run: python -m protocol.generate\n")
        return 1 if stale else 0
    for path in write_files():
        sys.stdout.write(f"written: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
