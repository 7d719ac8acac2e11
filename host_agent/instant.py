"""One reading of both clocks: the only form in which time enters a core."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple


class Instant(NamedTuple):
    """A moment: `mono_s` never goes back and orders deadlines; `utc_ms` is what the PC believes the time to be."""

    mono_s: float
    utc_ms: int


def read_clocks() -> Instant:
    """Read both clocks now; for shells."""
    return Instant(time.monotonic(), time.time_ns() // 1_000_000)


def asleep_s() -> float:
    """Return for how long this PC has slept since it was started, as far as `Instant.mono_s` leaves that out; for shells.

    On Linux the monotonic clock stands still in the meantime, on Windows it goes on.
    """
    slept_s = 0.0
    if sys.platform == "linux":
        slept_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return slept_s
