"""Numbers since the start, by reason; written on the ingest and network threads, read by pages.

What must survive a restart is in the database (rows, evidence with its counts); these are for seeing what happens now.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class Counters:
    """A counter that threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, counts: Mapping[str, int]) -> None:
        """Add several at once."""
        with self._lock:
            self._counts.update(counts)

    def one(self, name: str) -> None:
        """Add one."""
        with self._lock:
            self._counts[name] += 1

    def snapshot(self) -> dict[str, int]:
        """Return all of them, by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))
