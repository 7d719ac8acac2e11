"""Differences of millisecond ticks, which wrap.

On MicroPython this is the interpreter's own function (a period of 2**30 on the RP2040, without allocating); CPython has
none, so a test's clock counts in the period given here.
"""

PERIOD = 1 << 30

try:
    from time import ticks_diff as diff
except ImportError:

    def diff(end: int, start: int) -> int:
        """Return the milliseconds from `start` to `end`; negative when `end` comes first."""
        return ((end - start + PERIOD // 2) & (PERIOD - 1)) - PERIOD // 2
