"""How often a bad thing may be written to the log: enough to see it, never enough to fill a disk.

Each (kind, place) may speak once in ten seconds, and all together twenty times in a minute; what was held back is told as a
number with the next line. Everything is counted elsewhere, whether it is told or not. Called by ingest/pipeline; pure.
"""

from __future__ import annotations

from collections import Counter, deque

QUIET_MS = 10_000
MINUTE_MS = 60_000
LINES_A_MINUTE = 20
PLACES_KNOWN = 10_000


class Notices:
    """Decides which notices are told."""

    def __init__(self) -> None:
        self._last_ms: dict[tuple[str, str], int] = {}
        self._told_ms: deque[int] = deque(maxlen=LINES_A_MINUTE)
        self._held_back: Counter[tuple[str, str]] = Counter()

    def tell(self, kind: str, place: str, now_ms: int) -> int | None:
        """Return None when this notice is to be held back, else how many like it were held back since the last."""
        key = kind, place
        recent = now_ms - self._last_ms[key] < QUIET_MS if key in self._last_ms else False
        crowded = len(self._told_ms) == LINES_A_MINUTE and now_ms - self._told_ms[0] < MINUTE_MS
        if recent or crowded:
            if len(self._held_back) < PLACES_KNOWN or key in self._held_back:
                self._held_back[key] += 1
            return None
        if len(self._last_ms) >= PLACES_KNOWN:
            self._last_ms.clear()
        self._last_ms[key] = now_ms
        self._told_ms.append(now_ms)
        return self._held_back.pop(key, 0)
