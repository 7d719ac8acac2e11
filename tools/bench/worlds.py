"""How fast the simulated world turns: presses and faults per second of real time."""

from __future__ import annotations

import logging
import time

from simulator.world.runs import Wish, run_seeds
from tools.bench.table import Effort, Goal, Row

FIRST_SEED = 1


def world_rows(effort: Effort) -> list[Row]:
    """Whole worlds, from start to verdict, one after the other as `simulator world --jobs 1` runs them."""
    disabled = logging.root.manager.disable
    began_s = time.monotonic()
    worlds = list(run_seeds(Wish(), range(FIRST_SEED, FIRST_SEED + effort.of(12, 1)), jobs=1))
    took_s = time.monotonic() - began_s
    logging.disable(disabled)
    for world in worlds:
        if world.wrong:
            raise AssertionError(f"world {world.seed}: {world.wrong}")
    presses, faults = sum(world.presses for world in worlds), sum(world.faults.total() for world in worlds)
    return [
        Row("world-presses", "world: presses a second on one core", presses / took_s, "/s", goal=Goal(at_least=500)),
        Row("world-faults", "world: faults a second on one core", faults / took_s, "/s", goal=Goal(at_least=1000)),
    ]
