"""The board of a simulated device, run by the MicroPython VM: `micropython vm_main.py IDENTITY FLASH SECTORS FD`.

Everything above the board is the unmodified firmware. FD is the line to the host, a non-blocking socket. Standard input carries
the buttons (`keys MASK`), standard output what the firmware does with lamps and sound, one event a line. The program
ends when its standard input does, so that no device outlives its simulator.
"""

import select
import sys
import time

from firmware.evaluator.device import Device
from firmware.evaluator.hardware import Board
from firmware.evaluator.identity import Identity
from simulator.hardware.flash import FileFlash

STEP_MS = 5  # at the latest; bytes and buttons wake it at once


class VmBoard(Board):
    """Buttons and lamps as text lines, the line to the host as a descriptor."""

    texts = 2

    def __init__(self, flash: FileFlash, line: int) -> None:
        self.flash = flash
        self.down = 0
        self._line = open(line, "r+b", buffering=0)  # noqa: SIM115  # held for as long as the board exists

    def keys(self) -> int:
        """Return the buttons that are down."""
        return self.down

    def lamps(self, mask: int) -> None:
        """Report what is lit."""
        print("lamps", mask)  # noqa: T201  # standard output is the board's panel

    def sound(self, number: int, language: int) -> None:
        """Report what is said."""
        print("sound", number, language)  # noqa: T201  # standard output is the board's panel

    def receive(self, buffer: bytearray) -> int:
        """Take what has arrived from the host."""
        try:
            return self._line.readinto(buffer) or 0
        except OSError:
            return 0

    def send(self, data: memoryview) -> int:
        """Give the line what it takes."""
        try:
            return self._line.write(data) or 0
        except OSError:
            return 0

    def watch(self, poll: select.poll) -> None:
        """Have `poll` wake when the host says something."""
        poll.register(self._line, select.POLLIN)


def ticks_ms() -> int:
    """Return the time in the firmware's own unit."""
    return time.ticks_ms()  # type: ignore[return-value]  # the stub has a type of its own for these integers


def main() -> None:
    """Step the device until standard input ends."""
    identity, flash, sectors, line = sys.argv[1:5]
    board = VmBoard(FileFlash(flash, int(sectors)), int(line))
    device = Device(board, Identity(identity), ticks_ms())
    poll = select.poll()
    board.watch(poll)
    poll.register(sys.stdin, select.POLLIN)
    print("ready", device.journal.boot)  # noqa: T201  # standard output is the board's panel
    while True:
        for stream, event in poll.poll(STEP_MS):
            if stream is sys.stdin:
                # one change of the buttons a step: the firmware must see each
                line_in = sys.stdin.readline()
                if not line_in:
                    return
                board.down = int(line_in.split()[1])
            elif event & (select.POLLHUP | select.POLLERR):
                return
        device.step(ticks_ms())


main()
