"""Differences of millisecond ticks, which wrap.

On MicroPython these are the interpreter's own (2**30 on the RP2040, without allocating); CPython has none, so a test's clock
counts in the period given here.
"""

try:
    from time import ticks_add as add
    from time import ticks_diff as diff
except ImportError:
    PERIOD = 1 << 30

    def add(ticks: int, delta: int) -> int:
        """Return `ticks` moved by `delta` milliseconds."""
        return (ticks + delta) & (PERIOD - 1)

    def diff(end: int, start: int) -> int:
        """Return the milliseconds from `start` to `end`; negative when `end` comes first."""
        return ((end - start + PERIOD // 2) & (PERIOD - 1)) - PERIOD // 2
