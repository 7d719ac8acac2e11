"""Runs inside the MicroPython VM: what a step of the device allocates, idle and for a press.

Arguments: the root of the repository, the path of an identity file. Prints `NAME NUMBER` lines. The garbage collector is off
while it measures, so that `mem_alloc` is the sum of all allocations.
"""

import gc
import sys
from gc import mem_alloc  # type: ignore[attr-defined]  # MicroPython's own
from time import ticks_diff, ticks_us  # type: ignore[attr-defined]  # MicroPython's own

sys.path.insert(0, sys.argv[1])
from firmware.evaluator.device import Device
from firmware.evaluator.hardware import Board
from firmware.evaluator.identity import Identity
from simulator.hardware.flash import SECTOR_BYTES, MemoryFlash


def say(name: str, number: int) -> None:
    """Report one figure."""
    sys.stdout.write(name + " " + str(number) + "\n")


class QuietFlash(MemoryFlash):
    """Flash that allocates nothing of its own, so that what is measured is the firmware's."""

    def read(self, sector: int, at: int, buffer: "bytearray | memoryview") -> None:
        """Fill `buffer` byte by byte."""
        begin = sector * SECTOR_BYTES + at
        for n in range(len(buffer)):
            buffer[n] = self.content[begin + n]

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Clear the bits that are clear in `page`."""
        begin = sector * SECTOR_BYTES + at
        for n in range(len(page)):
            self.content[begin + n] &= page[n]

    def erase(self, sector: int) -> None:
        """Set a sector to 0xFF."""
        begin = sector * SECTOR_BYTES
        for n in range(SECTOR_BYTES):
            self.content[begin + n] = 0xFF


class QuietBoard(Board):
    """A board that allocates nothing, on which nothing happens of itself."""

    def __init__(self) -> None:
        self.flash = QuietFlash(8)
        self.down = 0
        self.thanks = 0
        self.waiting = b""
        self.sent = 0

    def keys(self) -> int:
        """Return the buttons that are down."""
        return self.down

    def lamps(self, mask: int) -> None:
        """Light nothing."""

    def sound(self, number: int, language: int) -> None:  # noqa: ARG002  # nobody listens
        """Count thanks."""
        if number == 2:
            self.thanks += 1

    def receive(self, buffer: bytearray) -> int:
        """Hand over what is waiting."""
        count = min(len(self.waiting), len(buffer))
        if count:
            buffer[:count] = self.waiting[:count]
            self.waiting = self.waiting[count:]
        return count

    def send(self, data: memoryview) -> int:
        """Take everything."""
        self.sent += len(data)
        return len(data)


gc.collect()
say("modules_bytes", mem_alloc())
board = QuietBoard()
gc.collect()
held = mem_alloc()
device = Device(board, Identity(sys.argv[2]), 0)
gc.collect()
say("device_bytes", mem_alloc() - held)
now = 0


def run(steps: int) -> int:
    """Step so often, 2 ms apart; return what was allocated meanwhile."""
    global now
    gc.collect()
    gc.disable()
    step = device.step
    begin = mem_alloc()
    for _ in range(steps):
        now = (now + 2) & 0x3FFFFFFF
        step(now)
    grown = int(mem_alloc() - begin)
    gc.enable()
    return grown


def press(button: int) -> int:
    """Press and let go, until the lamps are out and the next press would rate; return what was allocated."""
    board.down = 1 << button
    grown = run(40)
    board.down = 0
    return grown + run(600)


def deliver(frame: str) -> None:
    """Put a frame on the line."""
    board.waiting = bytes.fromhex(frame)


run(200)
say("idle_bytes", run(20000))
say("first_press_bytes", press(0))
presses = [press(n % 5) for n in range(60)]
say("press_bytes_least", min(presses))
say("press_bytes_most", max(presses))
say("thanks", board.thanks)
say("idle_after_presses_bytes", run(10000))
board.down = 0b00001
run(1000)
say("idle_held_bytes", run(10000))
board.down = 0
run(1000)
deliver(sys.argv[3])
say("hello_bytes", run(100))
deliver(sys.argv[4])
say("start_and_window_bytes", run(100))
deliver(sys.argv[5])
run(200)
# acknowledged, talking, the host still heard: 5 s are 2500 steps
say("idle_talking_bytes", run(2500))
for _ in range(180):
    press(1)
say("free", device.journal.free())
board.down = 0
run(10000)
say("idle_full_bytes", run(10000))
now = 0x3FFFF000
device.clock.tick(now)
run(4000)
begin = ticks_us()
run(10000)
say("idle_step_ns", ticks_diff(ticks_us(), begin) // 10)
gc.collect()
say("held_at_end_bytes", mem_alloc())
