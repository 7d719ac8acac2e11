"""A record's place in its device's chain, as a function of what is stored, never of the order of arrival.

`before` always means the stored record with the greatest smaller number in the same journal. A LOST record is the device's
signed word that it can no longer read some numbers: a hole that such words cover completely is closed.
Called by ingest/intake; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from protocol.record import SEQ_SPAN, RecordFlag, is_journal_start
from protocol.signing import ZERO_MAC

Span = tuple[int, int]
"""First and last number, both included."""


class Link(Enum):
    """How a record hangs on the one before it."""

    START = "start"
    """First of a journal: nothing is before it."""
    LINKED = "linked"
    """It carries the MAC of its stored predecessor."""
    AFTER_LOST = "after_lost"
    """All that is missing before it, the device has declared lost."""
    GAP_BEFORE = "gap_before"
    """Something before it is missing and not accounted for."""
    BROKEN = "broken"
    """Its predecessor is stored, and it carries another MAC."""

    @property
    def is_whole(self) -> bool:
        """True when nothing before it is unaccounted for."""
        return self in (Link.START, Link.LINKED, Link.AFTER_LOST)


class Place(NamedTuple):
    """What of a record decides its link and its neighbour's."""

    seq: int
    flags: int
    prev_mac: bytes
    mac: bytes


def journal_of(seq: int) -> int:
    """Return the ordinal of the journal to which a number belongs, from 0."""
    return (seq - 1) // SEQ_SPAN


def journal_span(journal: int) -> Span:
    """Return the first and last number that a journal can have."""
    return journal * SEQ_SPAN + 1, (journal + 1) * SEQ_SPAN


def link_of(place: Place, before: Place | None, lost: Sequence[Span]) -> Link:
    """Return the link of a record, given its neighbour `before` (None: nothing earlier in its journal) and what is lost."""
    if is_journal_start(place.seq):
        starts = bool(place.flags & RecordFlag.NEW_JOURNAL) and place.prev_mac == ZERO_MAC
        return Link.START if starts else Link.BROKEN
    if before is not None and before.seq == place.seq - 1:
        if before.mac == place.prev_mac:
            return Link.LINKED
        # the collection may hold what the device has lost since: the device then chains over the hole
        return Link.BROKEN if missing(before.seq, before.seq, lost) else Link.AFTER_LOST
    first = before.seq + 1 if before is not None else journal_span(journal_of(place.seq))[0]
    return Link.GAP_BEFORE if missing(first, place.seq - 1, lost) else Link.AFTER_LOST


def missing(first: int, last: int, lost: Sequence[Span]) -> list[Span]:
    """Return the parts of `first`..`last` that no span in `lost` covers, in order."""
    holes: list[Span] = []
    at = first
    for lost_first, lost_last in sorted(lost):
        if lost_last < at:
            continue
        if lost_first > last or at > last:
            break
        if lost_first > at:
            holes.append((at, lost_first - 1))
        at = lost_last + 1
    if at <= last:
        holes.append((at, last))
    return holes
