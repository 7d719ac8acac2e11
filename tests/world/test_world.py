"""The world holds for every seed tried, is the same for the same seed, and finds what is planted in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from host_agent import absences
from simulator.world import hall
from simulator.world import plan as plan_module
from simulator.world.faults import FAULTS
from simulator.world.plan import Plan, draw_busy, draw_days
from simulator.world.runs import Wish
from tests.world.planted import BUGS, Bug

SEEDS_FOR_A_BUG = range(1, 9)
OF_ABSENCES = FAULTS.keys() - {
    "agent's disk damaged", "agent's disk full", "agent's disk lost", "agent's disk set back", "PC clock set",
}  # fmt: skip  # one line for each would be seven
SETTLE_S = 2400.0
"""For planted bugs: what is right comes to rest in this time under the few faults they need; what is wrong need not take longer."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _small(seed: int, bug: Bug) -> Plan:
    return draw_busy(seed, 1, 120.0, bug.kinds)


def test_every_thanked_press_is_collected_once_whatever_breaks(world_seed: int) -> None:
    outcome = hall.run(Wish(seconds=150.0).plan(world_seed))
    assert not outcome.wrong
    assert outcome.found.thanked > 10
    assert outcome.faults.total() > 20


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_of_fault_alone_is_survived_and_happens(kind: str) -> None:
    outcome = hall.run(draw_busy(3, 2, 60.0, {kind}))
    assert not outcome.wrong
    assert outcome.faults[kind] > 3
    assert outcome.found.thanked > 10


@pytest.mark.parametrize("steady_s", [0.2, absences.STEADY_S])
def test_absences_are_told_as_they_were(steady_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of faults after which that can be said: the PC's clock is right and its disk keeps what it was given.

    Troubles of this world follow each other so fast that most absences are taken together; not so when ends are soon believed.
    """
    monkeypatch.setattr(absences, "STEADY_S", steady_s)
    outcome = hall.run(draw_busy(1, 2, 120.0, OF_ABSENCES))
    assert not outcome.wrong
    assert min(outcome.faults[kind] for kind in ("unplugged", "agent killed", "PC asleep")) > 1


def test_two_days_of_a_hall_that_opens_for_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "CLOSES_AT_S", plan_module.OPENS_AT_S + 1800.0)
    outcome = hall.run(draw_days(1, 1, 2, FAULTS))
    assert not outcome.wrong
    assert outcome.presses > 400
    assert outcome.virtual_s > 2 * 86_400


def test_the_seed_alone_makes_it_happen_again_to_the_byte() -> None:
    plan = Wish(seconds=60.0).plan(11)
    first, again = hall.run(plan, trace=True), hall.run(Plan.from_json(plan.to_json()), trace=True)
    assert [str(entry) for entry in first.trace] == [str(entry) for entry in again.trace]
    assert len(first.trace) > 500
    assert Wish(seconds=60.0).plan(12).happenings != plan.happenings


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_found_and_without_it_nothing(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.besides(monkeypatch)
    assert not hall.run(_small(1, bug), settle_s=SETTLE_S).wrong
    bug.plant(monkeypatch)
    assert any(hall.run(_small(seed, bug), settle_s=SETTLE_S).wrong for seed in SEEDS_FOR_A_BUG)
