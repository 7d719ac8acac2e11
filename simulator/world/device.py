"""A device of the world: the real firmware on flash that loses power, and the finger that presses it.

Every press is noted with what the person at the counter saw: thanked, refused, or nobody knows because the power went in that very
moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from firmware.evaluator.device import LEVELS, Device
from firmware.evaluator.feedback import SOUND_THANKS
from firmware.evaluator.identity import Identity
from simulator.device.in_process import BenchBoard
from simulator.hardware.faulty_flash import FaultyFlash, PowerCut
from simulator.world.scheduler import Scheduler

BUSY_STEP_S = 0.02
IDLE_STEP_S = 0.5
BUSY_FOR_S = 0.5
TICKS = 1 << 30


class MemoryIdentity(Identity):
    """An identity whose file is never torn; that has tests of its own."""

    def __init__(self, device: str, key: bytes) -> None:
        self.device = device.encode()
        self.key = key
        self.journals = 0
        self.settings = {}

    def begin_journal(self) -> int:
        """Count one more journal."""
        self.journals += 1
        return self.journals - 1


@dataclass(frozen=True, slots=True)
class Press:
    """One press that may have become a record."""

    level: int
    is_thanked: bool


class WorldDevice:
    """Steps itself as long as it has power; `presses` is what the oracle holds against the collection."""

    def __init__(self, scheduler: Scheduler, random: Random, name: str, key: bytes, sectors: int) -> None:
        self._scheduler = scheduler
        self._identity = MemoryIdentity(name, key)
        self.name = name
        self.flash = FaultyFlash(sectors, random)
        self.presses: list[Press] = []
        self.refused = 0
        self.power_cuts = 0
        self.device: Device | None = None
        """The firmware, while it has power."""
        self._board = BenchBoard(self.flash)
        self._power = 0
        self._busy_until_s = 0.0
        self.sends: Callable[[bytes], None] = lambda _data: None

    def power_on(self) -> None:
        """Start the firmware on the flash as it is."""
        self._power += 1
        self.flash.restore()
        self._board = BenchBoard(self.flash)
        try:
            self.device = Device(self._board, self._identity, self._ticks())
        except PowerCut:
            self.power_off()
            return
        self._busy()
        self._later(self._power)

    def power_off(self) -> None:
        """Take the power away."""
        self.device = None
        self._power += 1
        self.power_cuts += 1

    def receive(self, data: bytes) -> None:
        """Take bytes off the line."""
        if self.device is not None:
            self._board.to_device += data
            self._busy()
            self._scheduler.after(0, self._step)

    def press(self, button: int) -> None:
        """Press a button and let go of it."""
        if self.device is None:
            return
        power, board = self._power, self._board
        heard = len(board.sounds)
        board.down = 1 << button
        self._step()
        is_thanked = SOUND_THANKS in board.sounds[heard:]
        if is_thanked or self._power != power:  # the power may have gone between the record and the thanks
            self.presses.append(Press(LEVELS[button], is_thanked))
        else:
            self.refused += 1
        self._board.down = 0
        self._busy()
        self._scheduler.after(0.05, self._step)

    def _busy(self) -> None:
        self._busy_until_s = self._scheduler.now_s + BUSY_FOR_S

    def _ticks(self) -> int:
        return int(self._scheduler.now_s * 1000) % TICKS

    def _later(self, power: int) -> None:
        if power != self._power:
            return
        self._step()
        busy = self._scheduler.now_s < self._busy_until_s
        self._scheduler.after(BUSY_STEP_S if busy else IDLE_STEP_S, lambda: self._later(power))

    def _step(self) -> None:
        if self.device is None:
            return
        try:
            self.device.step(self._ticks())
        except PowerCut:
            self.power_off()
            return
        if self._board.from_device:
            data = bytes(self._board.from_device)
            self._board.from_device.clear()
            self._busy()
            self.sends(data)
            self._scheduler.after(0.001, self._step)  # there may be more to send at once
