"""Uptime that does not wrap, and the best known time with its quality.

Uptime is kept as seconds and milliseconds: both stay small integers, so that ticking on every scan allocates nothing.
Order never depends on this clock; a record's number does that.
"""

from . import ticks, wire

STALE_AFTER_MS = 3_600_000
DRIFT_DIVISOR = 20_000  # the crystal is within 50 ppm: 1 ms in 20,000
UNKNOWN = 0xFFFFFFFF
_MOST_UTC_MS = 0xFFFFFFFFFFFFFFFF  # what a record has room for, whatever a host says


class Clock:
    """Counts uptime from `now` and remembers what the host said of the time."""

    def __init__(self, now: int) -> None:
        self._last = now
        self._seconds = 0
        self._millis = 0
        self._set_at_ms = -1
        self._utc_ms = 0
        self._uncertainty_ms = UNKNOWN
        self._source = wire.SOURCE_UNKNOWN

    def tick(self, now: int) -> None:
        """Account for the time since the last call; call at least once in 2**28 ms."""
        self._millis += ticks.diff(now, self._last)
        self._last = now
        while self._millis >= 1000:
            self._millis -= 1000
            self._seconds += 1

    def uptime_s(self) -> int:
        """Return whole seconds since this boot; a small integer for decades, which milliseconds are not."""
        return self._seconds

    def uptime_ms(self) -> int:
        """Return milliseconds since this boot."""
        return self._seconds * 1000 + self._millis

    def set_time(self, utc_ms: int, uncertainty_ms: int, source: int) -> None:
        """Take the host's time; it replaces whatever was known before."""
        self._set_at_ms = self.uptime_ms()
        self._utc_ms = utc_ms
        self._uncertainty_ms = uncertainty_ms
        self._source = source

    def utc(self) -> tuple[int, int, int]:
        """Return (milliseconds since 1970 UTC or 0, uncertainty in ms, quality)."""
        if self._set_at_ms < 0:
            return 0, UNKNOWN, wire.QUALITY_NONE
        age_ms = self.uptime_ms() - self._set_at_ms
        uncertainty_ms = self._uncertainty_ms
        if uncertainty_ms != UNKNOWN:
            uncertainty_ms = min(uncertainty_ms + age_ms // DRIFT_DIVISOR + 1, UNKNOWN - 1)
        if age_ms > STALE_AFTER_MS:
            quality = wire.QUALITY_STALE
        elif self._source == wire.SOURCE_SYNCHRONISED:
            quality = wire.QUALITY_SYNCHRONISED
        else:
            quality = wire.QUALITY_FREE_RUNNING
        return min(self._utc_ms + age_ms, _MOST_UTC_MS), uncertainty_ms, quality
