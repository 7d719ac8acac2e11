"""How a device is, from its status; and how much its clock runs ahead."""

from __future__ import annotations

from dataclasses import fields

import pytest

from host_agent.device_health import health_of
from host_agent.instant import Instant
from host_agent.link.device_clock import FITTED_SAMPLES, FITTED_SPAN_MS, DeviceClock
from protocol.messages import Condition, SessionState, Status
from protocol.payloads import MOST_MILLIS, DeviceHealth

NOTHING = Condition(0)
NOW = Instant(100.0, 1_780_000_000_000)


def status(utc_ms: int = 0, conditions: Condition = NOTHING, uptime_ms: int = 5) -> Status:
    return Status(
        uptime_ms=uptime_ms, utc_ms=utc_ms, uncertainty_ms=9, oldest_seq=1, next_seq=2, ack_seq=2, receipt_seq=2, free=9,
        state=SessionState.IDLE, conditions=conditions, evaluation=bytes(16), staff="", stuck_keys=5, bad_frames=3, resent=4,
    )  # fmt: skip  # one line for each would be fifteen


def test_conditions_are_words_and_which_key_is_stuck_is_not_told() -> None:
    health = health_of(status(conditions=Condition.KEY_STUCK | Condition.PAUSED), None, NOW, None)
    assert health.conditions == ["paused", "key_stuck"]
    assert (health.bad_frames, health.resent) == (3, 4)
    assert "stuck_keys" not in DeviceHealth.model_fields
    assert "stuck_keys" in {field.name for field in fields(Status)}


@pytest.mark.parametrize(
    ("utc_ms", "asked_s", "ahead_ms"),
    [
        (0, 99.0, None),
        (NOW.utc_ms + 40, None, 40),
        (NOW.utc_ms, 100.0, 0),
        (NOW.utc_ms, 99.9, 50),  # it said so on the way, half of a tenth of a second ago
        (NOW.utc_ms - 5000, 100.0, -5000),
        ((1 << 64) - 1, 100.0, MOST_MILLIS),
    ],
)
def test_its_clock_is_held_against_the_pcs(utc_ms: int, asked_s: float | None, ahead_ms: int | None) -> None:
    assert health_of(status(utc_ms, uptime_ms=(1 << 64) - 1), asked_s, NOW, 7) == DeviceHealth(
        uptime_ms=MOST_MILLIS, conditions=[], clock_ahead_ms=ahead_ms, clock_ppm=7, bad_frames=3, resent=4
    )


@pytest.mark.parametrize("ppm", [-80, 0, 12, 120])
def test_how_much_faster_it_runs_is_known_after_a_while(ppm: int) -> None:
    clock = DeviceClock()
    clock.met("PJ-0001", 1, 0, 0.0, 0.002)
    for number in range(1, FITTED_SAMPLES):
        assert clock.ppm() is None
        host_s = number * 600.0
        clock.heard(round(host_s * 1000 * (1 + ppm * 1e-6)), host_s, host_s + 0.002)
    assert clock.ppm() == pytest.approx(ppm, abs=2)
    assert FITTED_SPAN_MS < 600_000
