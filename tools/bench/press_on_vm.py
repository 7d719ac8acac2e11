"""Run by the MicroPython VM: `micropython press_on_vm.py ROUNDS` prints two medians in microseconds, a press and its floor.

A press is the whole step of the device in which thanks are shown: buttons, session, record, link, lamps; the time inside of the
flash is taken out. The floor is what no record can do without: packing it, HMAC-SHA-256 on prepared pads, CRC-32.
"""

import gc
import struct
import sys
from binascii import crc32
from hashlib import sha256
from time import time_ns

from firmware.evaluator.device import Device
from firmware.evaluator.hardware import Board
from firmware.evaluator.identity import Identity
from simulator.hardware.flash import MemoryFlash

PRESSES = 8
STEP_MS = 2


class TimedFlash(MemoryFlash):
    """Flash that knows how long it was at work."""

    def __init__(self, sectors: int) -> None:
        super().__init__(sectors)
        self.took_ns = 0

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Read, and time it."""
        began = time_ns()
        super().read(sector, at, buffer)
        self.took_ns += time_ns() - began

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Program, and time it."""
        began = time_ns()
        super().program(sector, at, page)
        self.took_ns += time_ns() - began

    def erase(self, sector: int) -> None:
        """Erase, and time it."""
        began = time_ns()
        super().erase(sector)
        self.took_ns += time_ns() - began


class QuietBoard(Board):
    """One finger and no host."""

    def __init__(self, flash: TimedFlash) -> None:
        self.flash = flash
        self.down = 0
        self.thanks = 0

    def keys(self) -> int:
        """Return the buttons that are down."""
        return self.down

    def lamps(self, mask: int) -> None:
        """Light nothing."""

    def sound(self, number: int, language: int) -> None:  # noqa: ARG002  # nobody listens
        """Count thanks."""
        if number == 2:
            self.thanks += 1

    def receive(self, buffer: bytearray) -> int:  # noqa: ARG002  # nobody talks
        """Hear nothing."""
        return 0

    def send(self, data: memoryview) -> int:
        """Take everything."""
        return len(data)


class PaperIdentity(Identity):
    """A provisioned device for as long as this runs."""

    def __init__(self) -> None:
        self.device = b"PJ-0001"
        self.key = bytes(range(32))
        self.journals = 0
        self.settings = {"change_ms": 0, "rest_ms": 10}

    def begin_journal(self) -> int:
        """Begin the only one."""
        self.journals += 1
        return self.journals - 1


flash = TimedFlash(64)
board = QuietBoard(flash)
device = Device(board, PaperIdentity(), 0)
now = 0
record = bytearray(128)
inner_pad, outer_pad, blank = bytes(64), bytes(range(64)), bytes(16)


def press() -> int:
    """Press and let go; return how long the step with the thanks took, without the flash."""
    global now
    took = 0
    for down in (1, 0):
        board.down = down
        for _ in range(60):
            now += STEP_MS
            thanks, flash.took_ns = board.thanks, 0
            began = time_ns()
            device.step(now)
            ended = time_ns()
            if board.thanks > thanks:
                took = ended - began - flash.took_ns
    return took


def floor() -> int:
    """Pack, sign and check one record; return how long it took."""
    began = time_ns()
    struct.pack_into(
        "<BBBBIIQQIBBHII16s16s16s16s", record, 0,
        0x11, 1, 2, 5, 7, 1, 1000, 1000, 5, 3, 0, 0, 0, 0, blank, blank, blank, blank,
    )  # fmt: skip  # eighteen fields
    inner = sha256(inner_pad)
    inner.update(memoryview(record)[:108])
    outer = sha256(outer_pad)
    outer.update(inner.digest())
    record[108:124] = outer.digest()[:16]
    struct.pack_into("<I", record, 124, crc32(memoryview(record)[:124]))
    return time_ns() - began


def median(values: list[int]) -> float:
    """Return the middle one."""
    return float(sorted(values)[len(values) // 2])


presses: list[int] = []
floors: list[int] = []
press()  # the boot record is written with the first
for _ in range(int(sys.argv[1])):
    gc.collect()
    presses += [press() for _ in range(PRESSES)]
    floors += [floor() for _ in range(PRESSES)]
if not all(presses):
    raise RuntimeError("a press was not thanked")
sys.stdout.write(str(median(presses) / 1000) + " " + str(median(floors) / 1000) + "\n")
