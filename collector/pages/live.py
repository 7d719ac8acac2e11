"""What is new, for any number of readers: a reading position into the store, and a wake-up after each commit.

Readers hold nothing on the ingest thread: a commit sets a flag in each reader's loop and goes on. A position names the last
record and the last piece of evidence that a reader has seen, so a stream can be resumed from the store alone.
Called by pages/events and pages/app; `changed` by the pipeline, `close` by service.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.ingest.counters import Counters
from collector.store import condition, ratings

AT_ONCE = 200
MOST_BEHIND = 5000
"""A reader further behind than this is told how much it skips; the API has it all."""
SHOWN_AT_FIRST = 60
EVIDENCE_AT_FIRST = 20
SUMMARY_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a reader has seen: up to this arrival and this piece of evidence."""

    arrival: int
    evidence: int

    def __str__(self) -> str:
        return f"{self.arrival}.{self.evidence}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor in a Last-Event-ID, or None when it is none of ours."""
        arrival, dot, evidence = text.partition(".")
        if not dot or not (arrival + evidence).isascii() or not (arrival.isdigit() and evidence.isdigit()) or len(text) > 40:
            return None
        return cls(min(int(arrival), (1 << 63) - 1), min(int(evidence), (1 << 63) - 1))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell: its name, its data, and the cursor of a reader who has been told."""

    name: str
    data: dict[str, Any]
    cursor: Cursor


class Live:
    """The reading side of a running collector."""

    def __init__(self, reader: sa.Engine, counters: Counters, is_subscribed: Callable[[], bool]) -> None:
        self.closed = False
        self._reader = reader
        self._counters = counters
        self._is_subscribed = is_subscribed
        self._lock = threading.Lock()
        self._watches: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._summary: dict[str, Any] = {}
        self._summary_at_s = -SUMMARY_EVERY_S

    def watch(self) -> asyncio.Event:
        """Return an event of the running loop that is set after each commit; give it back with `unwatch`."""
        event = asyncio.Event()
        with self._lock:
            self._watches[event] = asyncio.get_running_loop()
        return event

    def unwatch(self, event: asyncio.Event) -> None:
        """Forget a watch."""
        with self._lock:
            self._watches.pop(event, None)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._watches)

    def changed(self) -> None:
        """Wake every reader; from any thread."""
        with self._lock:
            for event, loop in self._watches.items():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """End every stream."""
        self.closed = True
        self.changed()

    def connect(self) -> sa.Connection:
        """Return a reading connection."""
        return self._reader.connect()

    def first_cursor(self) -> Cursor:
        """Return where a new reader begins: a page full before now."""
        with self.connect() as connection:
            return Cursor(
                ratings.recent_position(connection, SHOWN_AT_FIRST),
                max(0, ratings.last_evidence(connection) - EVIDENCE_AT_FIRST),
            )

    def news(self, cursor: Cursor) -> tuple[list[Event], Cursor]:
        """Return at most AT_ONCE records and as much evidence from beyond `cursor`, and the cursor after them.

        The cursor moves over records that nobody is shown, too; it is at the end when nothing is returned.
        """
        events: list[Event] = []
        with self.connect() as connection:
            last = ratings.last_position(connection)
            if last - cursor.arrival > MOST_BEHIND:
                to = Cursor(last - SHOWN_AT_FIRST, cursor.evidence)
                events.append(Event("skipped", {"count": to.arrival - cursor.arrival, "after": cursor.arrival}, to))
                cursor = to
            entries = ratings.news(connection, cursor.arrival, AT_ONCE)
            for entry in entries:
                if entry["link"] == "gap_before":
                    events.append(Event("gap", entry, cursor))
                cursor = Cursor(entry["position"], cursor.evidence)
                if entry["kind"] in ratings.SHOWN_KINDS:
                    events.append(Event(entry["kind"], entry, cursor))
            if len(entries) < AT_ONCE:
                cursor = Cursor(max(last, cursor.arrival), cursor.evidence)
            for item in ratings.evidence_after(connection, cursor.evidence, AT_ONCE):
                cursor = Cursor(cursor.arrival, item["id"])
                events.append(Event("evidence", item, cursor))
        return events, cursor

    def summary(self) -> dict[str, Any]:
        """Return all numbers; at most four times a second from the store, else the last ones."""
        with self._lock:
            if time.monotonic() - self._summary_at_s < SUMMARY_EVERY_S:
                return self._summary
        with self.connect() as connection:
            summary = condition.summary(connection)
        summary |= {
            "ingest": self._counters.snapshot(),
            "broker": self._is_subscribed(),
            "readers": self.readers,
            "now_ms": time.time_ns() // 1_000_000,
        }
        with self._lock:
            self._summary, self._summary_at_s = summary, time.monotonic()
        return summary
