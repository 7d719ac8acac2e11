"""Runs inside the MicroPython VM: how long a start of the journal takes, what it reads, what memory it holds.

Arguments: the root of the repository, how many sectors. Prints `NAME NUMBER` lines. Called by `tools.journal_figures`.
"""

import gc
import sys
from gc import mem_alloc  # type: ignore[attr-defined]  # MicroPython's own
from time import ticks_diff, ticks_us  # type: ignore[attr-defined]  # MicroPython's own

sys.path.insert(0, sys.argv[1])
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.identity import Identity
from firmware.evaluator.journal import Journal
from firmware.evaluator.signer import Signer
from simulator.hardware.flash import MemoryFlash

SECTORS = int(sys.argv[2])
TIMES = 5


class PaperIdentity(Identity):
    """The one journal's identity."""

    def __init__(self) -> None:
        self.journals = 0

    def begin_journal(self) -> int:
        """Return the number of the one journal."""
        return 0


class CountingFlash(MemoryFlash):
    """Flash that counts what is read."""

    reads = 0
    bytes_read = 0

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Count and read."""
        self.reads += 1
        self.bytes_read += len(buffer)
        super().read(sector, at, buffer)


def say(name: str, number: float) -> None:
    """Report one figure."""
    sys.stdout.write(name + " " + str(number) + "\n")


signer = Signer(bytes(32), b"PJ-0001")
clock = Clock(0)


def start(flash: MemoryFlash) -> Journal:
    """Start a journal."""
    journal = Journal(flash, PaperIdentity(), signer)
    journal.recover()
    return journal


def sequential_us(flash: MemoryFlash, count: int) -> int:
    """Return how long reading so many bytes takes, page by page, in the order of their places."""
    page = bytearray(256)
    begin = ticks_us()
    for at in range(0, count, 256):
        flash.read(at // 4096, at % 4096, page)
    return int(ticks_diff(ticks_us(), begin))


def measure(name: str, flash: MemoryFlash) -> None:
    """Report a start on this flash; the best of several times."""
    counting = CountingFlash(SECTORS)
    counting.content[:] = flash.content
    start(counting)
    say(name + "_start_reads", counting.reads)
    say(name + "_start_bytes_read", counting.bytes_read)
    count = counting.bytes_read
    best_us = plain_us = 1 << 29
    for _ in range(TIMES):
        gc.collect()
        begin = ticks_us()
        start(flash)
        best_us = min(best_us, int(ticks_diff(ticks_us(), begin)))
        gc.collect()
        plain_us = min(plain_us, sequential_us(flash, count))
    say(name + "_start_us", best_us)
    say(name + "_start_times_plain_read", round(best_us / max(1, plain_us), 1))


flash = MemoryFlash(SECTORS)
start(flash)  # the header of the first sector
measure("empty", flash)
journal = start(flash)
while journal.append(wire.KIND_RATING, clock, 3):
    journal.idle()
del journal
measure("full", flash)
gc.collect()
held = mem_alloc()
journal = start(flash)
gc.collect()
say("full_held_bytes_64_bit", mem_alloc() - held)
