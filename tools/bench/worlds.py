"""How fast the simulated world turns: presses and faults per second of real time."""

from __future__ import annotations

import logging
import time

from simulator.world.hall import run
from simulator.world.runs import Wish
from tools.bench.table import Effort, Goal, Row

FIRST_SEED = 1


def world_rows(effort: Effort) -> list[Row]:
    """Whole worlds, from start to verdict."""
    presses = faults = 0
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # troubles made on purpose are no news
    began_s = time.monotonic()
    for seed in range(FIRST_SEED, FIRST_SEED + effort.of(12, 2)):
        outcome = run(Wish().plan(seed))
        if outcome.wrong:
            raise AssertionError(f"world {seed}: {outcome.wrong}")
        presses += outcome.presses
        faults += sum(outcome.faults.values())
    took_s = time.monotonic() - began_s
    logging.disable(disabled)
    return [
        Row("world-presses", "world: presses a second on one core", presses / took_s, "/s", goal=Goal(at_least=500)),
        Row("world-faults", "world: faults a second on one core", faults / took_s, "/s", goal=Goal(at_least=1000)),
    ]
