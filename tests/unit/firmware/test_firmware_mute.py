"""A device that has a PC on USB which says nothing starts again, only when nobody is there and never in a loop."""

from __future__ import annotations

from protocol.messages import Done, Language, Open
from protocol.record import Kind
from simulator.device.in_process import BenchDevice
from tests.device_bench import DIGEST, EVALUATION, Host, bench

MINUTE_MS = 60_000


def quick(device: BenchDevice, minutes: float, step_ms: int = 500) -> None:
    """Let time pass in larger steps than a board would."""
    for _ in range(int(minutes * MINUTE_MS / step_ms)):
        device.now = (device.now + step_ms) % (1 << 30)
        device.device.step(device.now)


def test_lesson_12_a_silent_host_that_is_there_for_ten_minutes_is_a_mute_port() -> None:
    device = bench()
    device.board.has_host = True
    quick(device, 9.9)
    assert device.board.resets == 0
    quick(device, 0.2)
    assert device.board.resets == 1
    quick(device, 9.8)
    assert device.board.resets == 1  # a port that stays mute is reset no more often
    quick(device, 0.3)
    assert device.board.resets == 2


def test_a_host_that_talks_or_is_not_there_is_no_mute_port() -> None:
    device = bench()
    quick(device, 30)
    device.board.has_host = True
    host = Host(device).join()
    for _ in range(300):
        quick(device, 0.1)
        host.status()
    assert device.board.resets == 0
    quick(device, 5)
    device.board.has_host = False  # the PC sleeps
    quick(device, 60)
    device.board.has_host = True
    quick(device, 9.9)
    assert device.board.resets == 0
    quick(device, 0.2)
    assert device.board.resets == 1


def test_nobody_is_interrupted_and_nothing_is_lost_or_written_by_it() -> None:
    device = bench(rest_ms=1, change_ms=1)
    host = Host(device).join()
    host.ask(Open(evaluation=EVALUATION, context_digest=DIGEST, timeout_ms=3_600_000, language=Language.DEVICE_SETTING), Done)
    device.board.has_host = True
    quick(device, 30)
    assert device.board.resets == 0
    device.press(0)
    quick(device, 1)
    assert device.board.resets == 1
    written = device.device.journal.next_seq
    for _ in range(3):
        device.power_on()
        device.board.has_host = True
        quick(device, 11)
        assert device.board.resets == 1
    assert device.device.journal.next_seq == written
    host = Host(device).join()
    host.listen(200)
    assert len(host.of(Kind.RATING)) == 1


def test_the_minutes_are_a_setting_and_none_means_never() -> None:
    for minutes, resets in ((2, 5), (0, 0)):
        device = bench(mute_reset_min=minutes)
        device.board.has_host = True
        quick(device, 11)
        assert device.board.resets == resets
