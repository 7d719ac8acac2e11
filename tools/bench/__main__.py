"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tools.bench import codec, drain, flash, ingest, installed, latency, on_board, rest, worlds
from tools.bench.stage import NotHere
from tools.bench.table import Effort, Row, Rows, Skipped, save, show

BENCHMARKS: dict[str, Rows] = {
    "commit": codec.commit_rows,
    "parse": codec.parse_rows,
    "wire": latency.wire_rows,
    "receipt": latency.receipt_rows,
    "drain": drain.drain_rows,
    "ingest": ingest.ingest_rows,
    "store": ingest.store_rows,
    "press": on_board.press_rows,
    "flash": flash.flash_rows,
    "rest": rest.rest_rows,
    "installed": installed.installed_rows,
    "world": worlds.world_rows,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was named, or everything; print the table, return the exit code: 0, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description="Measure, each figure beside its floor.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure: {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="about a minute in all; rough figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there is {', '.join(BENCHMARKS)}")
    console = Console()
    found: list[Row | Skipped] = []
    for name in options.names or BENCHMARKS:
        with console.status(f"{name} …"):
            try:
                found += BENCHMARKS[name](Effort(options.quick))
            except NotHere as reason:
                found.append(Skipped(name, str(reason)))
    show(console, found)
    if options.json:
        save(options.json, found, options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
