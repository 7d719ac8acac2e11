"""Uptime that does not wrap, and a time that says what it is worth."""

from __future__ import annotations

import pytest

from firmware.evaluator import ticks, wire
from firmware.evaluator.clock import STALE_AFTER_MS, UNKNOWN, Clock
from firmware.evaluator.ticks import diff  # type: ignore[attr-defined]  # defined there, or MicroPython's own

UTC_MS = 1_790_000_000_000


@pytest.mark.parametrize("start", [0, ticks.PERIOD - 1, ticks.PERIOD - 12_345, 1 << 29])
def test_uptime_goes_on_where_ticks_wrap(start: int) -> None:
    clock = Clock(start)
    for uptime_ms in range(0, 40 * 86_400_000, 3_600_000):
        clock.tick((start + uptime_ms) % ticks.PERIOD)
        assert clock.uptime_ms() == uptime_ms


def test_uptime_counts_every_millisecond() -> None:
    clock = Clock(0)
    for now in range(2500):
        clock.tick(now)
        assert clock.uptime_ms() == now


def test_differences_hold_across_the_wrap() -> None:
    assert diff(5, ticks.PERIOD - 5) == 10
    assert diff(ticks.PERIOD - 5, 5) == -10
    assert diff(1 << 28, 0) == 1 << 28


def test_without_a_host_there_is_no_time() -> None:
    assert Clock(0).utc() == (0, UNKNOWN, wire.QUALITY_NONE)


@pytest.mark.parametrize(
    ("source", "quality"),
    [(wire.SOURCE_SYNCHRONISED, wire.QUALITY_SYNCHRONISED), (wire.SOURCE_FREE_RUNNING, wire.QUALITY_FREE_RUNNING)],
)
def test_time_goes_on_and_gets_less_certain_until_it_is_stale(source: int, quality: int) -> None:
    clock = Clock(0)
    clock.set_time(UTC_MS, 10, source)
    assert clock.utc() == (UTC_MS, 11, quality)
    clock.tick(1_000_000)
    assert clock.utc() == (UTC_MS + 1_000_000, 10 + 50 + 1, quality)
    clock.tick(STALE_AFTER_MS)
    assert clock.utc()[2] == quality
    clock.tick(STALE_AFTER_MS + 1)
    assert clock.utc() == (UTC_MS + STALE_AFTER_MS + 1, 10 + 180 + 1, wire.QUALITY_STALE)


def test_unknown_uncertainty_stays_unknown_and_a_known_one_never_becomes_it() -> None:
    clock = Clock(0)
    clock.set_time(UTC_MS, UNKNOWN, wire.SOURCE_FREE_RUNNING)
    assert clock.utc()[1] == UNKNOWN
    clock.set_time(UTC_MS, UNKNOWN - 1, wire.SOURCE_FREE_RUNNING)
    clock.tick(100_000_000)
    assert clock.utc()[1] == UNKNOWN - 1


def test_the_host_may_set_the_time_back() -> None:
    clock = Clock(0)
    clock.set_time(UTC_MS, 10, wire.SOURCE_FREE_RUNNING)
    clock.tick(5000)
    clock.set_time(UTC_MS - 86_400_000, 10, wire.SOURCE_SYNCHRONISED)
    assert clock.utc()[0] == UTC_MS - 86_400_000


def test_an_absurd_time_still_fits_into_a_record() -> None:
    clock = Clock(0)
    clock.set_time((1 << 64) - 1, 10, wire.SOURCE_SYNCHRONISED)
    clock.tick(5000)
    assert clock.utc()[0] == (1 << 64) - 1
