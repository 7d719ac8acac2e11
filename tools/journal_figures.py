"""Figures of the journal in flash, for `docs/journal.md`: run the real journal on counting flash and print what it does.

    python -m tools.journal_figures [--json]

Counts are the same every time; what is measured in the MicroPython VM (times, memory) is not, and is left out where there is
no VM. Nothing here is an estimate of silicon but the last line, which says so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from firmware.boards.littlefs_sectors import SECTOR_BYTES
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.identity import Identity
from firmware.evaluator.journal import RESERVED, Journal
from firmware.evaluator.sector import SLOTS
from firmware.evaluator.signer import Signer
from simulator.hardware.flash import MemoryFlash

ROOT = Path(__file__).resolve().parents[1]
PICO_SECTORS = 64
RATINGS = 20_000
RATINGS_A_DAY = 300
RECEIPT_EVERY = 10
ERASE_CYCLES = 100_000
"""What a data sheet of NOR flash promises for a sector."""


class CountingFlash(MemoryFlash):
    """Flash that counts bytes and each sector's erases."""

    def __init__(self, sectors: int) -> None:
        super().__init__(sectors)
        self.bytes_programmed = 0
        """Bytes that were not left blank: 0xFF in a page programs nothing."""
        self.erased = [0] * sectors

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Count what is programmed."""
        self.bytes_programmed += len(page) - page.count(0xFF)
        super().program(sector, at, page)

    def erase(self, sector: int) -> None:
        """Count by sector."""
        self.erased[sector] += 1
        super().erase(sector)


class PaperIdentity(Identity):
    """The one journal's identity."""

    def __init__(self) -> None:
        self.journals = 0

    def begin_journal(self) -> int:
        """Count one more."""
        self.journals += 1
        return self.journals - 1


def new_journal(flash: MemoryFlash) -> Journal:
    """Return a journal that has started."""
    journal = Journal(flash, PaperIdentity(), Signer(bytes(32), b"PJ-0001"))
    journal.recover()
    return journal


def lived(ratings: int) -> dict[str, float]:
    """Write ratings as a device does: idle after each, and a receipt for every few."""
    flash = CountingFlash(PICO_SECTORS)
    journal = new_journal(flash)
    record = bytearray(wire.RECORD_BYTES)
    record_bytes = 0
    for n in range(ratings):
        seq = journal.append(wire.KIND_RATING, Clock(0), 1 + n % 5, value=n)
        journal.read(seq, record)
        record_bytes += len(record) - record.count(0xFF)
        journal.idle()
        if n % RECEIPT_EVERY == RECEIPT_EVERY - 1 and not journal.receipt(seq + 1, bytes(record[108:124])):
            raise RuntimeError("the journal does not take its own receipt")
        journal.idle()
    erases = sum(flash.erased) / ratings
    return {
        "ratings": ratings,
        "programs_per_rating": round(flash.programs / ratings, 3),
        "bytes_programmed_per_record_byte": round(flash.bytes_programmed / record_bytes, 3),
        "erases_per_rating": round(erases, 4),
        "least_erases_of_a_sector": min(flash.erased),
        "most_erases_of_a_sector": max(flash.erased),
        "years_at_300_a_day": round(PICO_SECTORS * ERASE_CYCLES / (erases * RATINGS_A_DAY * 365)),
    }


def filled() -> dict[str, float]:
    """Fill a journal of which nothing is collected."""
    journal = new_journal(MemoryFlash(PICO_SECTORS))
    ratings = 0
    while journal.append(wire.KIND_RATING, Clock(0), 3):
        ratings += 1
        journal.idle()
    return {
        "sectors": PICO_SECTORS,
        "ratings_without_any_receipt": ratings,
        "days_at_300_a_day": round(ratings / RATINGS_A_DAY, 1),
        "slots_reserved": RESERVED,
        "slots_in_a_sector": SLOTS,
        "fewest_erases_per_rating_with_4096_bytes": round(wire.RECORD_BYTES / SECTOR_BYTES, 4),
    }


def in_the_vm() -> dict[str, Any]:
    """Measure starts and memory in the MicroPython VM; empty where there is none."""
    vm = shutil.which("micropython", path=str(Path(sys.executable).parent))
    if vm is None:
        return {}
    script = Path(__file__).with_name("journal_on_vm.py")
    command = [vm, "-X", "heapsize=4M", str(script), str(ROOT), str(PICO_SECTORS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return {name: float(value) if "." in value else int(value) for name, value in map(str.split, done.stdout.splitlines())}


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tools.journal_figures", description="Figures of the journal in flash.")
    parser.add_argument("--json", action="store_true", help="for a program instead of a person")
    wanted = parser.parse_args(arguments)
    figures = {"lived": lived(RATINGS), "filled": filled(), "vm": in_the_vm()}
    if wanted.json:
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
        return 0
    for part, values in figures.items():
        for name, value in values.items():
            sys.stdout.write(f"{part:8}{name:45}{value:>10}\n")
    sys.stdout.write(f"years: {ERASE_CYCLES:,} erase cycles as in data sheets; nothing here was measured on silicon\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
