"""A database that cannot be written for now: since when, when to try again, and that it is told once (pure).

A full disk is a state, not an end: nothing is acknowledged, and it is tried again every second. It is said to be over only after
ten seconds without a failure, so that a database that fails now and then does not fill the log.
"""

from __future__ import annotations

from host_agent.instant import Instant

RETRY_S = 1.0
CALM_S = 10.0


class StoreTrouble:
    """`why` is the last failure in SQLite's words, None while writing works or is being tried again."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.retry_s = 0.0
        self._told = False
        self._calm_s = 0.0

    @property
    def why(self) -> str | None:
        """The failure that has not been overcome yet, for a person."""
        return None if self.error is None else str(self.error)

    def failed(self, error: Exception, now: Instant) -> bool:
        """Note a failure; tell whether it is news."""
        is_news = not self._told
        self._told = True
        self.error = error
        self.retry_s = now.mono_s + RETRY_S
        self._calm_s = now.mono_s + CALM_S
        return is_news

    def overcome(self) -> None:
        """Note that a write has worked."""
        self.error = None

    def is_over(self, now: Instant) -> bool:
        """Tell, once, that what was told as a failure is over."""
        is_over = self._told and self.error is None and now.mono_s >= self._calm_s
        self._told = self._told and not is_over
        return is_over
