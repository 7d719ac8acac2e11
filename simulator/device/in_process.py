"""The firmware in this process, on a clock that only the caller moves.

For tests and for the world: bytes go in and out by hand, presses are scheduled, lamps and sounds are kept. Nothing of the
firmware is replaced but what is below `hardware.Board`.
"""

from __future__ import annotations

from firmware.evaluator.device import Device
from firmware.evaluator.hardware import Board
from firmware.evaluator.identity import Identity
from simulator.hardware.flash import MemoryFlash


class BenchBoard(Board):
    """Buttons, lamps and a line that a test holds in its hands."""

    texts = 2

    def __init__(self, flash: MemoryFlash) -> None:
        self.flash = flash
        self.down = 0
        self.lit = 0
        self.sounds: list[int] = []
        self.lamp_changes: list[int] = []
        self.to_device = bytearray()
        self.from_device = bytearray()
        self.has_host = False
        """A host has set up the line, whether it talks or not."""
        self.resets = 0
        self.line_takes = 1 << 20
        """How many bytes the line still takes; 0 is a host that does not read."""

    def keys(self) -> int:
        """Return the buttons that are down."""
        return self.down

    def lamps(self, mask: int) -> None:
        """Keep what is lit."""
        self.lit = mask
        self.lamp_changes.append(mask)

    def sound(self, number: int, language: int) -> None:  # noqa: ARG002  # a bench has one voice
        """Keep what was said."""
        self.sounds.append(number)

    def host_present(self) -> bool:
        """Tell whether a host has set up the line."""
        return self.has_host

    def reset(self) -> None:
        """Count what a real board would not return from."""
        self.resets += 1

    def receive(self, buffer: bytearray) -> int:
        """Hand over what the test has put on the line."""
        count = min(len(buffer), len(self.to_device))
        buffer[:count] = self.to_device[:count]
        del self.to_device[:count]
        return count

    def send(self, data: memoryview) -> int:
        """Take bytes off the device."""
        count = min(len(data), self.line_takes)
        self.line_takes -= count
        self.from_device += data[:count]
        return count


class BenchDevice:
    """A device on the bench: `run` moves its clock, `press` is a finger."""

    STEP_MS = 2

    def __init__(self, identity: Identity, flash: MemoryFlash | None = None, now: int = 0) -> None:
        self._identity = identity
        self.now = now
        self.flash = flash or MemoryFlash(8)
        self.power_on()

    def power_on(self) -> None:
        """Start the firmware; also after a power cut, on the flash as it was left."""
        self.board = BenchBoard(self.flash)
        self.device = Device(self.board, self._identity, self.now)

    def run(self, ms: int) -> None:
        """Let the device step for so many milliseconds of its own time."""
        for _ in range(ms // self.STEP_MS):
            self.now = (self.now + self.STEP_MS) % (1 << 30)
            self.device.step(self.now)

    def press(self, button: int, hold_ms: int = 80) -> None:
        """Press a button, 0 for 非常满意 to 4, and let go of it."""
        self.board.down |= 1 << button
        self.run(hold_ms)
        self.board.down &= ~(1 << button)
        self.run(hold_ms)
