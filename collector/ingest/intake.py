"""One batch of verdicts into the store: each (device, seq) once, whatever arrives how often in which order.

All of it happens inside the caller's transaction. What is stored afterwards depends on the set of records, not on their
order: a record's link and a rating's replacement are corrected when the neighbour that decides them comes later. Only two
things follow the order of arrival: which of two conflicting genuine records is kept (the first), and the window of a record
that comes over two. Called by ingest/core; pure over the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from collector.ingest.evidence import KEPT_BYTES, Evidence, EvidenceKind
from collector.ingest.links import Link, Place, journal_of, journal_span, link_of
from collector.ingest.receipts import ReceiptDue, advance
from collector.ingest.verify import Genuine, Verdict
from collector.store import records, standing
from protocol.levels import Level
from protocol.record import Kind, RecordFlag, TimeQuality, is_journal_start


@dataclass(slots=True)
class Outcome:
    """What a batch came to: counts by name, new evidence, and the receipts now due."""

    counts: Counter[str] = field(default_factory=Counter)
    evidence: list[Evidence] = field(default_factory=list)
    due: list[ReceiptDue] = field(default_factory=list)


class Intake:
    """Stores batches."""

    def take(self, connection: sa.Connection, verdicts: Sequence[Verdict], now_ms: int) -> Outcome:
        """Store a batch in the open transaction and return what it came to."""
        outcome = Outcome()
        by_device: dict[str, list[Genuine]] = {}
        for verdict in verdicts:
            if isinstance(verdict, Genuine):
                by_device.setdefault(verdict.device, []).append(verdict)
                if verdict.doubt is not None:
                    note(connection, outcome, verdict.doubt, now_ms)
            else:
                note(connection, outcome, verdict, now_ms)
        for device, arrived in by_device.items():
            self._take_device(connection, outcome, device, arrived, now_ms)
        return outcome

    def _take_device(
        self, connection: sa.Connection, outcome: Outcome, device: str, arrived: list[Genuine], now_ms: int
    ) -> None:
        newest = records.last_seq(connection, device)
        new = _sift(connection, outcome, device, arrived, newest, now_ms)
        if new:
            in_order = new[0].record.seq > newest
            _insert(connection, outcome, device, new, now_ms)
            if not in_order or any(item.record.kind is Kind.LOST for item in new):
                _correct_links(connection, outcome, device, new, now_ms)
            _replace_revised(connection, device, new, out_of_order=not in_order)
        vouched: dict[int, int] = {}
        for item in new:
            if item.record.kind is Kind.BOOT:
                journal = journal_of(item.record.seq)
                vouched[journal] = max(vouched.get(journal, 0), item.record.refers_to)
        touched = {(journal_of(item.record.seq), item.window) for item in arrived}
        for journal, window in sorted(touched):
            position = advance(connection, window, device, journal, vouched.get(journal, 0), now_ms)
            if position is not None and position.next_seq:
                outcome.due.append(ReceiptDue(window, device, position.next_seq, position.mac))


def note(connection: sa.Connection, outcome: Outcome, item: Evidence, now_ms: int) -> None:
    """Keep a piece of evidence in the open transaction, and count it."""
    outcome.counts[item.kind.value] += 1
    if standing.note_evidence(connection, item, now_ms):
        outcome.evidence.append(item)


def _sift(
    connection: sa.Connection, outcome: Outcome, device: str, arrived: list[Genuine], newest: int, now_ms: int
) -> list[Genuine]:
    """Return what is new, by number; count duplicates, keep conflicts as evidence, fill in a case that came late."""
    old = sorted({item.record.seq for item in arrived if item.record.seq <= newest})
    held = records.held(connection, device, old) if old else {}
    new: dict[int, Genuine] = {}
    for item in arrived:
        seq = item.record.seq
        stored, first = held.get(seq), new.get(seq)
        raw = stored.raw if stored else first.raw if first else None
        if raw is None:
            new[seq] = item
        elif raw != item.raw:
            note(connection, outcome, _about(item, EvidenceKind.CONFLICT, f"record {seq} is stored with other bytes"), now_ms)
        else:
            outcome.counts["duplicate"] += 1
            if stored and _knows_more(item.case_matches, stored.case_matches):
                records.set_case(connection, device, seq, bool(item.case_matches), _case_json(item))
                held[seq] = records.Held(raw, item.case_matches)
            elif first and _knows_more(item.case_matches, first.case_matches):
                new[seq] = item
    return [new[seq] for seq in sorted(new)]


def _knows_more(now: bool | None, before: bool | None) -> bool:
    """True when a repeated record brings a better answer about its case: right beats wrong beats none."""
    return now is not None and (before is None or now > before)


def _insert(connection: sa.Connection, outcome: Outcome, device: str, new: list[Genuine], now_ms: int) -> None:
    """Insert new records (sorted) with their links."""
    lost = _lost_spans(connection, device, new)
    links: list[Link] = []
    before: Place | None = None
    for item in new:
        place = _place(item)
        floor = journal_span(journal_of(place.seq))[0]
        if before is None or before.seq != place.seq - 1:
            stored = records.before(connection, device, place.seq, floor)
            # the nearest may be of this batch and not yet stored
            mine = before if before is not None and before.seq >= floor else None
            before = max((found for found in (stored, mine) if found), key=lambda found: found.seq, default=None)
        links.append(link_of(place, before, lost))
        before = place
    arrival = records.last_arrival(connection)
    records.insert(
        connection,
        [_row(item, link, arrival + 1 + at, now_ms) for at, (item, link) in enumerate(zip(new, links, strict=True))],
    )
    outcome.counts["stored"] += len(new)
    for item, link in zip(new, links, strict=True):
        if link is Link.BROKEN:
            _note_broken(connection, outcome, device, item, _place(item), now_ms)


def _correct_links(
    connection: sa.Connection,
    outcome: Outcome,
    device: str,
    new: list[Genuine],
    now_ms: int,
) -> None:
    """Judge anew the stored records whose neighbourhood has changed."""
    suspects: dict[Place, Link] = {}
    if any(item.record.kind is Kind.LOST for item in new):
        suspects.update(records.open_links(connection, device))
    numbers = [item.record.seq for item in new]
    mine = set(numbers)
    for at, seq in enumerate(numbers):
        if at + 1 == len(numbers) or numbers[at + 1] != seq + 1:
            follower = records.after(connection, device, seq, journal_span(journal_of(seq))[1])
            if follower is not None and follower[0].seq not in mine:
                suspects[follower[0]] = follower[1]
    if not suspects:
        return
    lost = records.lost_spans(connection, device)
    for place, old in suspects.items():
        before = records.before(connection, device, place.seq, journal_span(journal_of(place.seq))[0])
        link = link_of(place, before, lost)
        if link is not old:
            records.set_link(connection, device, place.seq, link)
            if link is Link.BROKEN:
                _note_broken(connection, outcome, device, new[0], place, now_ms)


def _replace_revised(connection: sa.Connection, device: str, new: list[Genuine], *, out_of_order: bool) -> None:
    """Let changes of mind replace what they change, whichever of the two came first."""
    ratings = [item.record for item in new if item.record.kind is Kind.RATING]
    changes = {(record.seq, record.refers_to) for record in ratings if int(record.flags) & _REVISION}
    if out_of_order and ratings:
        targets = {record.seq for record in ratings} | {target for _, target in changes}
        changes.update(records.revisions_of(connection, device, targets))
    for seq, target in sorted(changes):
        records.replace_rating(connection, device, target, seq)


def _lost_spans(connection: sa.Connection, device: str, new: Iterable[Genuine]) -> list[tuple[int, int]]:
    spans = records.lost_spans(connection, device)
    for item in new:
        if item.record.kind is Kind.LOST and item.record.value:
            spans.append((item.record.refers_to, item.record.refers_to + item.record.value - 1))
    return spans


def _place(item: Genuine) -> Place:
    return Place(item.record.seq, int(item.record.flags), item.record.prev_mac, item.record.mac)


def _about(item: Genuine, kind: EvidenceKind, text: str) -> Evidence:
    return Evidence(kind, f"{item.window.path}", item.window, item.device, item.record.seq, text, item.raw[:KEPT_BYTES])


def _note_broken(connection: sa.Connection, outcome: Outcome, device: str, cause: Genuine, place: Place, now_ms: int) -> None:
    """Keep a broken chain as evidence about the later of the two records, whichever arrived last."""
    text = f"record {place.seq} does not carry the MAC of the stored record {place.seq - 1}"
    if is_journal_start(place.seq):
        text = f"record {place.seq} begins a journal but does not say so"
    item = Evidence(
        EvidenceKind.BROKEN_CHAIN, cause.window.path, cause.window, device, place.seq, text, place.prev_mac + place.mac
    )
    note(connection, outcome, item, now_ms)


def _case_json(item: Genuine) -> str | None:
    return None if item.case is None else item.case.to_json().decode("utf-8")


def _row(item: Genuine, link: Link, arrival: int, now_ms: int) -> tuple[Any, ...]:
    """Return a row, its values in the order of the table's columns."""
    record, window = item.record, item.window
    flags = int(record.flags)
    return (
        item.device,
        record.seq,
        arrival,
        _KINDS[record.kind],
        _LEVELS[record.level],
        record.boot,
        min(record.uptime_ms, _MOST),
        min(record.utc_ms, _MOST),
        record.uncertainty_ms,
        _QUALITIES[record.quality],
        flags,
        record.detail,
        record.refers_to,
        record.value,
        record.evaluation.hex() if record.evaluation != _NOBODY else None,
        record.context_digest.hex() if record.context_digest != _NOBODY else None,
        record.staff or None,
        record.prev_mac,
        record.mac,
        item.raw,
        window.area,
        window.hall,
        window.window,
        item.agent_received_ms,
        now_ms,
        item.historical,
        _case_json(item),
        item.case_matches,
        _LINKS[link],
        record.refers_to if flags & _REVISION and record.kind is Kind.RATING else None,
        None,
        *_reckoned(item),
    )


def _reckoned(item: Genuine) -> tuple[int | None, int | None, str | None, bool | None]:
    said = item.reckoned
    return (None, None, None, None) if said is None else (said.at_ms, said.uncertainty_ms, said.quality, said.clock_jumped)


# an enumeration's own `name` and operators are Python each time, and this is done for every record
_KINDS: Final = {kind: kind.name.lower() for kind in Kind}
_LEVELS: Final = {int(level): level.word for level in Level} | {0: None}
_QUALITIES: Final = {quality: quality.name.lower() for quality in TimeQuality}
_LINKS: Final = {link: link.value for link in Link}
_REVISION: Final = int(RecordFlag.REVISION)
_NOBODY: Final = bytes(16)
_MOST = (1 << 63) - 1
"""A device's 64-bit time may be larger than a database integer; `raw` keeps what it said."""
