"""What people want to know: ratings that count, what is missing, what was wrong.

A rating counts when it is of kind rating and no later change of mind has replaced it. Extra presses, expiries and
cancellations are kinds of their own and never enter a count of levels (P5's default ratings are not made here either).
All queries take a reading connection. Called by pages, and by tests as the table's oracle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from collector.ingest.evidence import EvidenceKind
from collector.ingest.links import Link, Span, journal_of, journal_span, missing
from collector.store.late_cases import cases_of
from collector.store.tables import IS_EFFECTIVE, IS_LOST, OPEN_LINK, evidence, positions, records
from protocol.levels import Level

SHOWN_KINDS = ("rating", "extra", "expired", "cancelled")
"""What a citizen or clerk has caused; the rest is the device's own business."""

_R, _E, _P = records.c, evidence.c, positions.c
_ENTRY = (
    _R.arrival, _R.device, _R.seq, _R.kind, _R.level, _R.area, _R.hall, _R.window, _R.case_json, _R.case_matches,
    _R.utc_ms, _R.quality, _R.received_ms, _R.historical, _R.link, _R.flags, _R.revises, _R.replaced_by, _R.staff,
    _R.context_digest,
)  # fmt: skip  # one line for each thought would be twenty lines


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that are not here; `last_seq` None: nobody knows how many. `kind`: missing, start or end."""

    device: str
    place: str
    kind: str
    first_seq: int
    last_seq: int | None


def level_counts(connection: sa.Connection) -> dict[str, int]:
    """Return how many ratings count at each level, best level first, zeros included."""
    query = sa.select(_R.level, sa.func.count()).where(IS_EFFECTIVE).group_by(_R.level)
    counted: dict[str | None, int] = dict(connection.execute(query).all())
    return {level.word: counted.get(level.word, 0) for level in sorted(Level, reverse=True)}


def entries(connection: sa.Connection, after: int, limit: int, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Return records of these kinds in the order of their arrival, from beyond the reading position `after`."""
    query = sa.select(*_ENTRY).where(_R.arrival > after, _R.kind.in_(kinds)).order_by(_R.arrival).limit(limit)
    return _entries(connection, query)


def news(connection: sa.Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """Return what a live page shows from beyond `after`: the shown kinds, and records before which something is missing."""
    shown = sa.or_(_R.kind.in_(SHOWN_KINDS), OPEN_LINK)
    query = sa.select(*_ENTRY).where(_R.arrival > after, shown).order_by(_R.arrival).limit(limit)
    return _entries(connection, query)


def recent_position(connection: sa.Connection, count: int) -> int:
    """Return the reading position before the last `count` arrivals."""
    return max(0, last_position(connection) - count)


def last_position(connection: sa.Connection) -> int:
    """Return the reading position after everything stored."""
    return connection.execute(sa.select(sa.func.max(_R.arrival))).scalar() or 0


def gaps(connection: sa.Connection, device: str | None = None) -> list[Gap]:
    """Return everything that is missing, by device and number."""
    found: list[Gap] = []
    query = sa.select(_R.device, _R.seq, _R.area, _R.hall, _R.window).where(OPEN_LINK, _R.link == Link.GAP_BEFORE.value)
    if device is not None:
        query = query.where(_R.device == device)
    lost: dict[str, list[Span]] = {}
    for name, seq, area, hall, window in connection.execute(query):
        floor = journal_span(journal_of(seq))[0]
        earlier = sa.select(sa.func.max(_R.seq)).where(_R.device == name, _R.seq < seq, _R.seq >= floor)
        before = connection.execute(earlier).scalar()
        if name not in lost:
            lost[name] = _lost(connection, name)
        for first, last in missing(before + 1 if before else floor, seq - 1, lost[name]):
            found.append(Gap(name, f"{area}/{hall}/{window}", "missing" if before else "start", first, last))
    found.extend(_unknown_ends(connection, device, lost))
    return sorted(found, key=lambda gap: (gap.device, gap.first_seq))


def _unknown_ends(connection: sa.Connection, device: str | None, lost: dict[str, list[Span]]) -> Iterator[Gap]:
    """Yield where a journal was given up for a new one: nobody can say whether it had more records."""
    later = positions.alias()
    superseded = sa.exists().where(later.c.device == _P.device, later.c.journal > _P.journal)
    query = sa.select(_P.device, _P.journal, _P.area, _P.hall, _P.window).where(superseded)
    if device is not None:
        query = query.where(_P.device == device)
    for name, journal, area, hall, window in connection.execute(query):
        floor, ceiling = journal_span(journal)
        last_query = sa.select(sa.func.max(_R.seq)).where(_R.device == name, _R.seq.between(floor, ceiling))
        last = connection.execute(last_query).scalar()
        if name not in lost:
            lost[name] = _lost(connection, name)
        if last is not None and missing(last + 1, last + 1, lost[name]):
            yield Gap(name, f"{area}/{hall}/{window}", "end", last + 1, None)


def _lost(connection: sa.Connection, device: str) -> list[Span]:
    query = sa.select(_R.refers_to, _R.value).where(_R.device == device, IS_LOST)
    return [(first, first + count - 1) for first, count in connection.execute(query) if count]


def evidence_counts(connection: sa.Connection) -> dict[str, int]:
    """Return how often each kind of bad thing has arrived, zeros included."""
    query = sa.select(_E.kind, sa.func.sum(_E.count)).group_by(_E.kind)
    counted = {kind: int(count) for kind, count in connection.execute(query)}
    return {kind.value: counted.get(kind.value, 0) for kind in EvidenceKind}


def evidence_after(connection: sa.Connection, after: int, limit: int) -> list[dict[str, Any]]:
    """Return evidence beyond id `after`, oldest first."""
    columns = (_E.id, _E.kind, _E.place, _E.topic, _E.device, _E.seq, _E.text, _E.first_ms, _E.last_ms, _E.count)
    query = sa.select(*columns).where(_E.id > after).order_by(_E.id).limit(limit)
    found = []
    for row in connection.execute(query).mappings():
        kind = EvidenceKind(row["kind"])
        words = {"chinese": kind.chinese, "advice": kind.advice, "advice_chinese": kind.advice_chinese}
        found.append(dict(row) | words)
    return found


def last_evidence(connection: sa.Connection) -> int:
    """Return the id of the newest piece of evidence, 0 when there is none."""
    return connection.execute(sa.select(sa.func.max(_E.id))).scalar() or 0


def _entries(connection: sa.Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    rows = connection.execute(query).mappings().all()
    late = cases_of(connection, rows)
    return [_entry(row, late.get((row["device"], row["seq"]))) for row in rows]


def _entry(row: Any, late_case: str | None) -> dict[str, Any]:
    level = Level.from_word(row["level"]) if row["level"] else None
    timed = row["quality"] in ("synchronised", "free_running")
    return {
        "position": row["arrival"],
        "device": row["device"],
        "seq": row["seq"],
        "kind": row["kind"],
        "level": row["level"],
        "level_chinese": level.chinese if level else None,
        "bad": level.is_bad if level and row["kind"] == "rating" else False,
        "place": f"{row['area']}/{row['hall']}/{row['window']}",
        "window": row["window"],
        "staff": row["staff"],
        "case": json.loads(case) if (case := row["case_json"] or late_case) else None,
        "case_is_late": late_case is not None,
        "case_matches": row["case_matches"],
        "pressed_ms": row["utc_ms"] or None,
        "time_quality": row["quality"],
        "stored_ms": row["received_ms"],
        "latency_ms": row["received_ms"] - row["utc_ms"] if timed and row["utc_ms"] else None,
        "historical": row["historical"],
        "signature": "verified",
        "link": row["link"],
        "chained": Link(row["link"]).is_whole,
        "revises": row["revises"],
        "counts": row["kind"] == "rating" and row["replaced_by"] is None,
        "replaced_by": row["replaced_by"],
    }
