"""Keeps account of absences: takes what the agent sees, in its thread, and makes durable what `absences` says of it.

Nothing is written before the records of the same turn are: a rating does not wait for this.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from host_agent.absences import Absences, Reason
from host_agent.instant import Instant
from host_agent.store.absences import AbsenceStore
from host_agent.surroundings import Surroundings

log = logging.getLogger("agent")


class Attendance:
    """One run of the agent; the store has what the runs before it have left."""

    def __init__(self, store: AbsenceStore, surroundings: Surroundings, staff: Callable[[], str | None]) -> None:
        self._store = store
        self._asleep_s = surroundings.asleep_s
        self._absences = Absences(store.sign(), store.lasting(), surroundings.entropy, staff)
        self._is_in_order = True

    def watch(self, now: Instant) -> None:
        """Notice that the PC has slept; call often, whatever else cannot be done."""
        self._absences.watch(self._at(now))

    def lost(self, reason: Reason, now: Instant) -> None:
        """The device is gone."""
        self._absences.lost(reason, self._at(now))

    def met(self, device: str, now: Instant) -> None:
        """A device is here."""
        self._absences.met(device, self._at(now))

    def step(self, now: Instant) -> None:
        """Store what is due."""
        at = self._at(now)
        change = self._absences.due(at, self._store.count)
        if change is not None:
            self._store.put(change)
            self._absences.stored(change, at)

    def failed(self) -> None:
        """The agent ends, and nobody has stopped it."""
        self._is_in_order = False

    def stop(self, now: Instant) -> None:
        """Note that the agent was stopped."""
        if not self._is_in_order:
            return
        try:
            self._store.put(self._absences.stopped(self._at(now)))
        except sqlite3.Error as error:
            log.debug("the end cannot be noted: %s; the next start tells of an agent that was killed", error)

    def deadline_s(self) -> float:
        """Return the monotonic time by which `step` must be called."""
        return self._absences.deadline_s() - self._asleep_s()

    def _at(self, now: Instant) -> Instant:
        return Instant(now.mono_s + self._asleep_s(), now.utc_ms)
