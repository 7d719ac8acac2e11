"""The world holds for every seed tried, is the same for the same seed, and finds what is planted in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firmware.evaluator import journal, link
from firmware.evaluator.device import Device
from host_agent.store import outbox
from host_agent.store.schema import RECEIPTED
from simulator.world import hall

SEEDS = range(1, 7)
SECONDS = 200.0
SEEDS_FOR_A_BUG = range(1, 7)
SMALL: dict[str, Any] = {"windows": 1, "seconds": 150.0, "settle_s": 420.0}
"""For planted bugs: what is right settles in this time as well, which a test checks, and what is wrong does not take for ever."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_thanked_press_is_collected_once_whatever_breaks(seed: int) -> None:
    outcome = hall.run(seed, seconds=SECONDS)
    assert not outcome.wrong
    assert sum(verdict.thanked for verdict in outcome.verdicts) > 10
    assert sum(outcome.faults.values()) > 50


def test_the_seed_alone_makes_it_happen_again() -> None:
    first, again = hall.run(11, seconds=60.0), hall.run(11, seconds=60.0)
    assert (first.verdicts, first.faults, first.presses) == (again.verdicts, again.faults, again.presses)
    assert hall.run(12, seconds=60.0).faults != first.faults


Plant = Callable[[pytest.MonkeyPatch], None]


def release_on_the_agents_word(patch: pytest.MonkeyPatch) -> None:
    """The device recycles what the agent has acknowledged: a lost disk then loses ratings."""

    def acknowledged(self: Device, next_seq: int) -> None:
        self.journal.release(next_seq)

    def read(self: journal.Journal, seq: int, buffer: Any) -> bool:
        return seq >= self.receipt_seq and held(self, seq, buffer)

    held = journal.Journal.read
    patch.setattr(Device, "acknowledged", acknowledged)
    patch.setattr(journal.Journal, "read", read)


def trust_the_broker(patch: pytest.MonkeyPatch) -> None:
    """The agent takes a PUBACK for a receipt: what the broker forgets is never sent again."""
    patch.setattr(outbox, "SENT", RECEIPTED)


def thank_before_the_record_is_durable(patch: pytest.MonkeyPatch) -> None:
    """The device thanks first and writes afterwards."""
    judged = Device._press

    def press(self: Device, now: int, level: int) -> None:
        self._feedback.thank(now)
        judged(self, now, level)

    patch.setattr(Device, "_press", press)


def never_go_back(patch: pytest.MonkeyPatch) -> None:
    """The device forgets to go back when an ack does not come."""
    patch.setattr(link, "RETRY_FIRST_MS", 1 << 28)
    patch.setattr(link, "RETRY_MOST_MS", 1 << 28)


def forget_to_send_again(patch: pytest.MonkeyPatch) -> None:
    """The agent never repeats what has no receipt."""

    def nothing(_self: outbox.Outbox, _before_ms: int) -> int:
        return 0

    patch.setattr(outbox.Outbox, "send_again", nothing)


def use_a_number_twice(patch: pytest.MonkeyPatch) -> None:
    """A restart forgets the newest record and gives its number away again."""
    recovered = journal.Journal.recover

    def recover(self: journal.Journal) -> None:
        recovered(self)
        if self.next_seq > self.receipt_seq:
            self.next_seq -= 1

    patch.setattr(journal.Journal, "recover", recover)


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (release_on_the_agents_word, {"agent's disk lost", "broker forgets"}),
        (trust_the_broker, {"broker forgets"}),
        (forget_to_send_again, {"broker forgets"}),
        (thank_before_the_record_is_durable, {"power cut in flash"}),
        (use_a_number_twice, {"power cut", "unplugged"}),
        (never_go_back, {"bad line"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found_and_without_it_nothing(plant: Plant, kinds: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # only the faults that the bug does not survive: others would heal it, as they should
    assert not hall.run(1, kinds=kinds, **SMALL).wrong
    plant(monkeypatch)
    assert any(hall.run(seed, kinds=kinds, **SMALL).wrong for seed in SEEDS_FOR_A_BUG)
