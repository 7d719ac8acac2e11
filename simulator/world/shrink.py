"""Making a failing plan small: what can be left out of it so that it still fails.

Happenings are left out in halves, quarters and so on down to single ones, as long as time remains; what is left is all needed.
Each trial is a whole world, so the result is one that really fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from simulator.world.plan import Happening, Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool], seconds: float, tell: Callable[[int], None] = lambda _left: None) -> Plan:
    """Return a part of a failing plan that fails as well, found within so many seconds; `tell` hears how many happenings are left."""
    until_s = time.monotonic() + seconds
    rounds = len(plan.rounds)
    while rounds > 1 and fails(_first_rounds(plan, rounds - 1)):
        rounds -= 1
    plan = _first_rounds(plan, rounds)
    chunks = 2
    while len(plan.happenings) > 1 and time.monotonic() < until_s:
        smaller = _without_one_chunk(plan, chunks, fails, until_s)
        if smaller is not None:
            plan = smaller
            chunks = max(2, chunks - 1)
            tell(len(plan.happenings))
        elif chunks >= len(plan.happenings):
            break
        else:
            chunks = min(2 * chunks, len(plan.happenings))
    return plan


def _without_one_chunk(plan: Plan, chunks: int, fails: Callable[[Plan], bool], until_s: float) -> Plan | None:
    all_of_it: list[Happening] = list(plan.happenings)
    size = -(-len(all_of_it) // chunks)
    for at in range(0, len(all_of_it), size):
        if time.monotonic() >= until_s:
            return None
        smaller = plan.with_only(all_of_it[:at] + all_of_it[at + size :])
        if fails(smaller):
            return smaller
    return None


def _first_rounds(plan: Plan, rounds: int) -> Plan:
    return Plan(plan.seed, plan.windows, plan.rounds[:rounds], tuple(one for one in plan.happenings if one.round < rounds))
