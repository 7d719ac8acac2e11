"""Measuring two things in turn, so that whatever else the machine does hits both alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence


def alternate(rounds: int, ours: Callable[[], float], floor: Callable[[], float]) -> tuple[float, float]:
    """Call both in turn, A B A B; return the median of what each returns."""
    mine, bare = [], []
    for _ in range(rounds):
        mine.append(ours())
        bare.append(floor())
    return statistics.median(mine), statistics.median(bare)


def per_call_us(what: Callable[[], object], calls: int) -> float:
    """Return the mean time of a call, in microseconds, with the garbage collector out of the way."""
    gc.collect()
    gc.disable()
    try:
        began_ns = time.perf_counter_ns()
        for _ in range(calls):
            what()
        return (time.perf_counter_ns() - began_ns) / calls / 1000
    finally:
        gc.enable()


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many per cent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
