"""The headless demo's books can say no: each way in which a rating can go wrong makes them inexact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.levels import Level
from simulator.demo.headless import Books, compare

BATCH = "H1"


def item(number: int, level: Level, **changes: Any) -> dict[str, Any]:
    """One press as the collector's API lists it."""
    found = {
        "case": {"case_no": f"{BATCH}-{number}"},
        "counts": True,
        "level": level.word,
        "signature": "verified",
        "chained": True,
        "latency_ms": 10 * number,
    }
    return {**found, **changes}


def books() -> Books:
    pressed = {f"{BATCH}-1": Level.SATISFIED, f"{BATCH}-2": Level.VERY_DISSATISFIED}
    return Books(pressed=pressed, thanked=2)


def arrived() -> list[dict[str, Any]]:
    return [item(1, Level.SATISFIED), item(2, Level.VERY_DISSATISFIED)]


def test_what_was_pressed_and_collected_once_is_exact() -> None:
    kept = books()
    earlier = item(1, Level.SATISFIED, case={"case_no": "H0-1"})
    compare(kept, BATCH, [earlier, *arrived()])
    assert kept.is_exact
    assert (kept.median_ms(), kept.latency_ms(0.95), kept.latency_ms(1)) == (15, 20, 20)


Spoil = Callable[[list[dict[str, Any]]], Any]


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda found: found.pop(), "missing"),
        (lambda found: found.append(dict(found[0])), "doubled"),
        (lambda found: found[0].update(level=Level.VERY_SATISFIED.word), "altered"),
        (lambda found: found.append(item(3, Level.SATISFIED)), "invented"),
        (lambda found: found.append(item(1, Level.DISSATISFIED, counts=False)), "invented"),
        (lambda found: found[1].update(signature="missing"), "unverified"),
        (lambda found: found[1].update(chained=False), "unverified"),
    ],
)
def test_every_way_to_go_wrong_is_named(spoil: Spoil, name: str) -> None:
    kept, found = books(), arrived()
    spoil(found)
    compare(kept, BATCH, found)
    assert getattr(kept, name)
    assert not kept.is_exact


@pytest.mark.parametrize("change", [{"thanked": 1}, {"waiting": 1}, {"evidence": 1}, {"gaps": 1}])
def test_a_press_without_thanks_or_without_receipt_is_not_exact(change: dict[str, int]) -> None:
    kept = books()
    compare(kept, BATCH, arrived())
    for field, value in change.items():
        setattr(kept, field, value)
    assert not kept.is_exact
