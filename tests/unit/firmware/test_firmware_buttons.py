"""Bouncing contacts in, single presses out."""

from __future__ import annotations

from random import Random

import pytest

from firmware.evaluator.buttons import LOCKOUT_MS, STUCK_MS, Buttons
from firmware.evaluator.ticks import PERIOD

SETTLED = 100  # after the lockout that follows power-on


def scan_all(buttons: Buttons, masks: list[int], now: int = SETTLED, step_ms: int = 2) -> list[int]:
    """Scan one mask after another; return the presses."""
    found = []
    for n, mask in enumerate(masks):
        key = buttons.scan(mask, (now + n * step_ms) % PERIOD)
        if key >= 0:
            found.append(key)
    return found


@pytest.mark.parametrize("button", range(5))
def test_each_button_counts_at_its_first_edge(button: int) -> None:
    buttons = Buttons(0, 0)
    assert scan_all(buttons, [0]) == []
    assert buttons.scan(1 << button, SETTLED + 2) == button


@pytest.mark.parametrize("seed", range(20))
def test_bouncing_contacts_are_one_press(seed: int) -> None:
    random = Random(seed)
    bounce = [random.choice([0, 4]) for _ in range(LOCKOUT_MS // 2 - 1)]
    release = [random.choice([0, 4]) for _ in range(LOCKOUT_MS // 2 - 1)]
    masks = [0, 4, *bounce, *[4] * 60, 0, *release, *[0] * 60]
    buttons = Buttons(0, 0)
    assert scan_all(buttons, masks) == [2]
    assert scan_all(buttons, masks, now=SETTLED + 1000) == [2]


def test_two_presses_are_two() -> None:
    assert scan_all(Buttons(0, 0), [1] * 40 + [0] * 40 + [1] * 40 + [0] * 40) == [0, 0]


def test_two_buttons_in_the_same_scan_say_nothing() -> None:
    buttons = Buttons(0, 0)
    assert scan_all(buttons, [0b10001] * 50 + [0] * 50) == []
    assert scan_all(buttons, [0b00111] * 50 + [0] * 50, now=1000) == []
    assert scan_all(buttons, [0b01000] * 50, now=2000) == [3]


def test_a_second_button_counts_while_the_first_is_still_held() -> None:
    assert scan_all(Buttons(0, 0), [0b00001] * 20 + [0b01001] * 20 + [0b00001] * 20 + [0] * 20) == [0, 3]


def test_a_button_held_at_start_counts_only_after_it_was_let_go() -> None:
    buttons = Buttons(0b00010, 0)
    assert scan_all(buttons, [0b00010] * 100) == []
    assert scan_all(buttons, [0] * 50 + [0b00010] * 50, now=1000) == [1]


def test_a_stuck_button_is_reported_until_it_is_let_go_and_the_others_go_on() -> None:
    buttons = Buttons(0, 0)
    assert buttons.scan(0b00100, SETTLED) == 2
    assert buttons.scan(0b00100, SETTLED + STUCK_MS) == -1
    assert buttons.stuck == 0
    buttons.scan(0b00100, SETTLED + STUCK_MS + 2)
    assert buttons.stuck == 0b00100
    assert buttons.scan(0b00101, SETTLED + STUCK_MS + 1000) == 0
    assert buttons.scan(0b00001, SETTLED + STUCK_MS + 1100) == -1
    assert buttons.stuck == 0
    assert buttons.scan(0b00101, SETTLED + STUCK_MS + 1200) == 2


def test_a_stuck_button_stays_reported_for_a_month() -> None:
    buttons = Buttons(0, 0)
    buttons.scan(0b00100, SETTLED)
    for hour in range(1, 30 * 24):
        assert buttons.scan(0b00100, (SETTLED + hour * 3_600_000) % PERIOD) == -1
        assert buttons.stuck == 0b00100


@pytest.mark.parametrize("days", [0.1, 6, 6.5, 7, 9, 12, 13, 20])
def test_a_button_that_nobody_pressed_for_days_still_counts(days: float) -> None:
    """Ticks wrap after 12.4 days: whoever compares old ones finds them in the future."""
    buttons = Buttons(0, 0)
    assert scan_all(buttons, [16] * 40 + [0] * 40) == [4]
    later = int(days * 86_400_000)
    for now in range(SETTLED + 1000, later, 60_000):
        buttons.scan(0, now % PERIOD)
    assert scan_all(buttons, [0, 16, 16], now=later % PERIOD) == [4]


def test_a_code_that_is_no_button_is_none() -> None:
    buttons = Buttons(0, 0)
    assert scan_all(buttons, [0b1100000, 0, 0b100000, 0, ~31, 0] * 20) == []
    assert buttons.stuck == 0
