"""Many worlds side by side: one process for each core, one world at a time in each, results in the order of their seeds."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from simulator.world.faults import FAULTS
from simulator.world.hall import Outcome, run
from simulator.world.plan import Plan, draw_busy, draw_days

ALL_KINDS = tuple(FAULTS)


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of world: how many windows, for how long, with which faults. `days`, if any, instead of busy `seconds`."""

    windows: int = 2
    seconds: float = 300.0
    days: int = 0
    kinds: tuple[str, ...] = ALL_KINDS

    def command(self, seeds: str) -> str:
        """Return the command that runs such worlds again."""
        span = f"--days {self.days}" if self.days else f"--minutes {self.seconds / 60:g}"
        faults = "" if set(self.kinds) == set(ALL_KINDS) else f' --faults "{",".join(self.kinds) or "none"}"'
        return f"python -m simulator world {seeds} --windows {self.windows} {span}{faults}"

    def plan(self, seed: int) -> Plan:
        """Draw the plan of one seed."""
        if self.days:
            return draw_days(seed, self.windows, self.days, self.kinds)
        return draw_busy(seed, self.windows, self.seconds, self.kinds)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of a world when it is over."""

    seed: int
    presses: int
    thanked: int
    collected: int
    refused: int
    lost: int
    doubled: int
    altered: int
    faults: Counter[str]
    virtual_s: float
    recovery_s: float
    cpu_s: float
    wrong: tuple[str, ...]


def summary(seed: int, outcome: Outcome, cpu_s: float) -> Summary:
    """Return the figures of a world."""
    found = outcome.found
    return Summary(
        seed=seed,
        presses=outcome.presses,
        thanked=found.thanked,
        collected=found.collected,
        refused=outcome.refused,
        lost=found.lost,
        doubled=found.doubled,
        altered=found.altered,
        faults=outcome.faults,
        virtual_s=outcome.virtual_s,
        recovery_s=outcome.recovery_s,
        cpu_s=cpu_s,
        wrong=tuple(found.wrong),
    )


def _settle_memory() -> None:
    """Have the garbage collector look seldom, and never at what was there before the first world: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


@contextmanager
def _settled_memory() -> Iterator[None]:
    usual = gc.get_threshold()
    _settle_memory()
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def run_seed(wish: Wish, seed: int) -> Summary:
    """Run the world of one seed."""
    logging.disable(logging.CRITICAL)  # thousands of troubles made on purpose are no news
    began_s = time.process_time()
    outcome = run(wish.plan(seed))
    return summary(seed, outcome, time.process_time() - began_s)


def run_seeds(wish: Wish, seeds: Sequence[int], jobs: int | None = None) -> Iterator[Summary]:
    """Run the worlds of these seeds on `jobs` cores (all by default)."""
    jobs = min(jobs or os.cpu_count() or 1, len(seeds))
    if jobs == 1:
        with _settled_memory():
            yield from map(partial(run_seed, wish), seeds)
        return
    with ProcessPoolExecutor(jobs, initializer=_settle_memory) as pool:
        yield from pool.map(partial(run_seed, wish), seeds)
