"""Light and sound tell that a press counted, and nothing about which one it was."""

from __future__ import annotations

import pytest

from firmware.evaluator.feedback import ALL, DARK, RED, SOUND_INVITE, SOUND_REFUSED, SOUND_THANKS
from protocol.messages import Done, Language, Open
from simulator.device.in_process import BenchDevice
from simulator.hardware.flash import MemoryFlash
from tests.device_bench import DIGEST, EVALUATION, Host, bench

Trace = list[tuple[int, int, tuple[int, ...]]]


def open_evaluation(host: Host, evaluation: bytes = EVALUATION, timeout_ms: int = 60_000) -> None:
    host.ask(Open(evaluation=evaluation, context_digest=DIGEST, timeout_ms=timeout_ms, language=Language.DEVICE_SETTING), Done)


def trace(device: BenchDevice, ms: int, line: list[tuple[int, int]] | None = None) -> Trace:
    """Return (time, lamps, sounds so far) of every moment."""
    found: Trace = []
    for _ in range(ms // 2):
        device.run(2)
        found.append((device.now, device.board.lit, tuple(device.board.sounds)))
        if line is not None:
            line.append((device.now, len(device.board.from_device)))
    return found


def press_trace(button: int, *, opened: bool, second: int | None = None) -> tuple[Trace, list[tuple[int, int]]]:
    """Everything seen and heard, and when how many bytes are on the line, from a press until long after it."""
    device = bench()
    host = Host(device).join()
    if opened:
        open_evaluation(host)
    seen: Trace = []
    line: list[tuple[int, int]] = []
    for pressed in [button] if second is None else [button, second]:
        device.board.down = 1 << pressed
        seen += trace(device, 80)
        device.board.down = 0
        seen += trace(device, 1500)
    seen += trace(device, 14_000)
    return seen, line


@pytest.mark.parametrize("opened", [True, False])
def test_every_level_looks_and_sounds_the_same(opened: bool) -> None:
    first = press_trace(0, opened=opened)
    assert SOUND_THANKS in first[0][-1][2]
    for button in range(1, 5):
        assert press_trace(button, opened=opened) == first


def test_every_pair_of_presses_looks_and_sounds_the_same() -> None:
    """Else a colleague could press a button just after the citizen and learn whether it was that one."""
    first = press_trace(0, opened=True, second=0)
    for button in range(5):
        for second in range(5):
            assert press_trace(button, opened=True, second=second) == first


def test_an_open_evaluation_breathes_and_asks_once() -> None:
    device = bench()
    open_evaluation(Host(device).join())
    seen = trace(device, 5000)
    assert {lit for _, lit, _ in seen} == {ALL, DARK}
    assert device.board.sounds == [SOUND_INVITE]


def test_an_expired_evaluation_goes_dark() -> None:
    device = bench()
    open_evaluation(Host(device).join(), timeout_ms=1000)
    device.run(1100)
    assert {lit for _, lit, _ in trace(device, 3000)} == {DARK}


def full_device() -> BenchDevice:
    device = bench(MemoryFlash(2))
    while device.device.journal.free():
        device.press(0)
        device.run(10_000)
    device.board.sounds.clear()
    return device


def test_a_full_device_shows_red_and_refuses_with_light_and_sound() -> None:
    device = full_device()
    before = bytes(device.flash.content)
    for button in range(5):
        device.press(button)
        device.run(2000)
    assert device.board.sounds == [SOUND_REFUSED] * 5
    assert device.board.lit == RED
    assert bytes(device.flash.content) == before


class NoProgram(MemoryFlash):
    """Flash that stops taking anything, silently or with an error."""

    broken = False
    raises = False
    seen: list[int]

    def program(self, sector: int, at: int, page: bytearray) -> None:
        if self.broken and self.raises:
            raise OSError(5, "flash")
        if not self.broken:
            super().program(sector, at, page)

    def erase(self, sector: int) -> None:
        if self.broken and self.raises:
            raise OSError(5, "flash")
        if not self.broken:
            super().erase(sector)


@pytest.mark.parametrize("raises", [False, True])
def test_no_thanks_from_a_flash_that_takes_nothing(raises: bool) -> None:
    flash = NoProgram(4)
    device = bench(flash)
    flash.broken, flash.raises = True, raises
    device.board.lamp_changes.clear()
    for button in range(5):
        device.press(button)
        device.run(2000)
    assert SOUND_THANKS not in device.board.sounds
    assert device.board.sounds.count(SOUND_REFUSED) == 5
    assert ALL not in device.board.lamp_changes
    flash.broken = False
    device.press(1)
    assert device.board.sounds[-1] == SOUND_THANKS, "it recovers when the flash does"


def test_thanks_come_only_after_the_record_is_in_flash() -> None:
    """At the moment of the thanks a copy of the flash holds the press: cut the power there, and it is still there."""
    device = bench()
    host = Host(device).join()
    open_evaluation(host)
    copies: list[bytes] = []

    def sound(number: int, language: int) -> None:
        if number == SOUND_THANKS:
            copies.append(bytes(device.flash.content))

    device.board.sound = sound  # type: ignore[method-assign]  # to be there at that very moment
    device.press(4)
    flash = MemoryFlash(8)
    flash.content[:] = copies[0]
    again = BenchDevice(device._identity, flash)
    host = Host(again).join()
    host.listen(100)
    assert [record.level for record in host.records if record.level] == [1]


def test_a_language_lasts_for_one_citizen() -> None:
    device = bench()
    spoken: list[tuple[int, int]] = []
    device.board.sound = lambda number, language: spoken.append((number, language))  # type: ignore[method-assign]  # the bench has one voice
    host = Host(device).join()
    host.ask(Open(evaluation=EVALUATION, context_digest=DIGEST, timeout_ms=60_000, language=Language.DAI), Done)
    device.press(0)
    device.run(12_000)
    device.press(0)
    assert spoken == [(SOUND_INVITE, 2), (SOUND_THANKS, 2), (SOUND_THANKS, 0)]
