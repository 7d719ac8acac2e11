"""A device of the world: the real firmware on flash that loses power, and the finger that presses it.

Every press is noted with what the person at the counter saw: thanked, refused, or nobody knows because the power went in that very
moment. A device without power waits for somebody to switch it on; the hall sees to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from firmware.evaluator import wire
from firmware.evaluator.device import LEVELS, Device
from firmware.evaluator.feedback import SOUND_THANKS
from firmware.evaluator.identity import Identity
from simulator.device.in_process import BenchBoard
from simulator.hardware.faulty_flash import FaultyFlash, PowerCut
from simulator.world.scheduler import Scheduler
from simulator.world.trace import Trace

PAUSES_S = (0.001, 0.03, 0.06, 0.12, 0.25, 0.5)
"""From one step to the next: often after something has happened, then less and less."""
IDLE_S = 1.0
TICKS = 1 << 30
HELD_S = 0.05
LINE_TAKES = 4096
"""Bytes that a PC takes off the line between two steps."""


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
    """One press that may have become a record: what was rated, for what, and whether the citizen was thanked."""

    at_s: float
    window: str
    level: int
    evaluation: str
    """Hex, empty without one."""
    digest: str
    is_thanked: bool


class WorldDevice:
    """Steps itself as long as it has power; `presses` is what the oracle holds against the collection."""

    def __init__(self, scheduler: Scheduler, trace: Trace, random: Random, name: str, key: bytes, sectors: int) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._identity = MemoryIdentity(name, key)
        self.name = name
        self.flash = FaultyFlash(sectors, random)
        self.presses: list[Press] = []
        self.refused = 0
        self.wrongly_refused = 0
        """Refusals although there was room and the flash was sound."""
        self.device: Device | None = None
        """The firmware, while it has power."""
        self.died: Callable[[], None] = lambda: None
        """Called when the power has gone in the middle of something."""
        self.sends: Callable[[bytes], None] = lambda _data: None
        self._board = BenchBoard(self.flash)
        self._plan = 0
        self._pause = 0

    def power_on(self) -> None:
        """Start the firmware on the flash as it is."""
        if self.device is not None:
            return
        self.flash.restore()
        self._board = BenchBoard(self.flash)
        try:
            self.device = Device(self._board, self._identity, self._ticks())
        except PowerCut:
            self._cut()
            return
        self._trace.note(self.name, f"power on, records {self.device.journal.oldest_seq}..{self.device.journal.next_seq - 1}")
        self._soon()

    def power_off(self) -> None:
        """Take the power away."""
        if self.device is not None:
            self._trace.note(self.name, "power off")
        self.device = None
        self._plan += 1

    def receive(self, data: bytes) -> None:
        """Take bytes off the line."""
        if self.device is not None:
            self._board.to_device += data
            self._soon()

    def press(self, button: int, window: str) -> None:
        """Press a button and let go of it."""
        self._step()  # whatever has run out of time ends before the finger comes down
        device = self.device
        if device is None:
            return
        board, session = self._board, device._session
        # the citizen rates what the lamp asks for; afterwards, for a while, a press is about the same
        evaluation, digest = session.evaluation, session.digest
        has_room = device.journal.has_room(1)
        board.sounds.clear()
        board.down = 1 << button
        self._step()
        is_thanked, is_dead = SOUND_THANKS in board.sounds, self.device is not device
        if is_thanked or is_dead:  # the power may have gone between the record and the thanks
            press = Press(self._scheduler.now_s, window, LEVELS[button], _hex(evaluation), _hex(digest), is_thanked)
            self.presses.append(press)
        elif board.sounds:
            self.refused += 1
            self.wrongly_refused += has_room
        if self._trace.on:
            said = "thanked" if is_thanked else "power gone" if is_dead else "refused" if board.sounds else "not taken"
            self._trace.note("citizen", f"presses {button + 1} at {self.name} ({self._session_word(device)}): {said}")
        board.down = 0
        self._scheduler.after(HELD_S, self._soon)

    @property
    def has_all_receipts(self) -> bool:
        """True when the collection has said of every record that it is there."""
        return self.device is not None and self.device.journal.receipt_seq == self.device.journal.next_seq

    @property
    def is_idle(self) -> bool:
        """True when no evaluation is open."""
        return self.device is not None and self.device._session.state == wire.STATE_IDLE

    def _session_word(self, device: Device) -> str:
        evaluation = device._session.evaluation
        return f"for {evaluation.hex()[:8]}" if any(evaluation) else "free-standing"

    def _ticks(self) -> int:
        return int(self._scheduler.now_s * 1000) % TICKS

    def _soon(self) -> None:
        """Something has happened: step now, and then often for a while."""
        self._pause = 0
        self._later(0)

    def _later(self, pause_s: float) -> None:
        self._plan += 1
        plan = self._plan
        self._scheduler.after(pause_s, lambda: self._turn() if plan == self._plan else None)

    def _turn(self) -> None:
        self._step()
        if self.device is not None:
            pause_s = PAUSES_S[self._pause] if self._pause < len(PAUSES_S) else IDLE_S
            self._pause += 1
            self._later(pause_s)

    def _step(self) -> None:
        if self.device is None:
            return
        self._board.line_takes = LINE_TAKES
        try:
            self.device.step(self._ticks())
        except PowerCut:
            self._cut()
            return
        if self._board.from_device:
            data = bytes(self._board.from_device)
            self._board.from_device.clear()
            self._pause = 0
            self.sends(data)

    def _cut(self) -> None:
        self._trace.note(self.name, "power goes in the middle of a flash operation")
        self.power_off()
        self.died()


def _hex(value: bytes) -> str:
    return value.hex() if any(value) else ""
