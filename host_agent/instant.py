"""One reading of both clocks: the only form in which time enters a core."""

from __future__ import annotations

import time
from typing import NamedTuple


class Instant(NamedTuple):
    """A moment: `mono_s` never goes back and orders deadlines; `utc_ms` is what the PC believes the time to be."""

    mono_s: float
    utc_ms: int


def read_clocks() -> Instant:
    """Read both clocks now; for shells."""
    return Instant(time.monotonic(), time.time_ns() // 1_000_000)
