"""The collector without its shells: messages and the time in; durable rows and signed receipts out.

`take` is one transaction. When it returns, everything in the batch is durable and may be acknowledged; when it raises,
nothing is. It neither logs nor publishes: the caller does both from the outcome.
Called by ingest/pipeline on its thread, and by the simulated world in virtual time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from collector.ingest import receipts
from collector.ingest.absences import take_absence
from collector.ingest.evidence import KEPT_BYTES, Evidence, EvidenceKind
from collector.ingest.intake import Intake, Outcome, note
from collector.ingest.late_cases import take_case
from collector.ingest.verify import Verdict, Verifier
from collector.ingest.windows import take_health, take_state
from protocol.errors import PayloadError
from protocol.payloads import Absence, Health, LateCase, State
from protocol.topics import Down, Up, Window, parse_up

_parse_up = lru_cache(4096)(parse_up)  # a window publishes on a few topics, thousands of times


class Message(NamedTuple):
    """What a broker delivers: topic and payload."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What a batch came to: counts by name, new evidence to be logged, and messages to be published."""

    counts: Counter[str]
    evidence: list[Evidence]
    publish: list[Message]


@dataclass(slots=True)
class _Sorted:
    """A batch by what it is about."""

    verdicts: list[Verdict] = field(default_factory=list)
    states: list[tuple[Window, State | Health]] = field(default_factory=list)
    cases: list[tuple[Window, LateCase]] = field(default_factory=list)
    absences: list[tuple[Window, Absence]] = field(default_factory=list)


class Ingest:
    """Takes batches; `hall_keys` is `{"area/hall": 32 bytes}`, the engine's transactions are durable when they end."""

    def __init__(self, engine: sa.Engine, hall_keys: Mapping[str, bytes]) -> None:
        self._engine = engine
        self._verifier = Verifier(hall_keys)
        self._intake = Intake()

    def take(self, messages: Sequence[Message], now_ms: int) -> Taken:
        """Verify and store a batch; return once it is durable. Database errors pass through, with nothing stored."""
        batch = _Sorted()
        for message in messages:
            self._sort(message, batch)
        with self._engine.begin() as connection:
            outcome = self._intake.take(connection, batch.verdicts, now_ms)
            for window, said in batch.states:
                known = (
                    take_state(connection, window, said, now_ms)
                    if isinstance(said, State)
                    else take_health(connection, window, said, now_ms)
                )
                outcome.counts["state" if known else "stale_state"] += 1
            publish = _told(connection, batch, outcome, now_ms)
        outcome.counts["received"] += len(messages)
        receipts_before = len(publish)
        for due in sorted(set(outcome.due)):
            key = self._verifier.device_key(due.window, due.device)
            if key is not None:
                payload = receipts.sign(key, due, now_ms).to_json()
                publish.append(Message(due.window.down(Down.RECEIPT), payload))
        outcome.counts["receipts"] += len(publish) - receipts_before
        return Taken(outcome.counts, outcome.evidence, publish)

    def _sort(self, message: Message, batch: _Sorted) -> None:
        window: Window | None = None
        try:
            window, up = _parse_up(message.topic)
            if up is Up.RECORD:
                batch.verdicts.append(self._verifier.verdict(window, message.topic, message.payload))
            elif up is Up.CASE:
                late = LateCase.from_json(message.payload)
                if self._is_known(window, message, batch, late.device, late.seq):
                    batch.cases.append((window, late))
            elif up is Up.ABSENCE:
                absence = Absence.from_json(message.payload)
                if self._is_known(window, message, batch, absence.device, None):
                    batch.absences.append((window, absence))
            else:
                model: type[State | Health] = State if up is Up.STATE else Health
                batch.states.append((window, model.from_json(message.payload)))
        except PayloadError as error:
            batch.verdicts.append(
                Evidence(EvidenceKind.MALFORMED, message.topic, window, None, None, str(error), message.payload[:KEPT_BYTES])
            )

    def _is_known(self, window: Window, message: Message, batch: _Sorted, device: str | None, seq: int | None) -> bool:
        """Tell whether the hall has a key; what comes from one that has none is evidence."""
        if self._verifier.device_key(window, device or "") is not None:
            return True
        batch.verdicts.append(self._verifier.unknown_hall(window, message.topic, device, seq, message.payload))
        return False


def _told(connection: sa.Connection, batch: _Sorted, outcome: Outcome, now_ms: int) -> list[Message]:
    """Store what windows tell beside records; return what each is answered."""
    answers: list[Message] = []
    doubts: list[Evidence | None] = []
    for window, late in batch.cases:
        case_kept, doubt = take_case(connection, window, late, now_ms)
        answers.append(Message(window.down(Down.CASE), case_kept.to_json()))
        doubts.append(doubt)
        outcome.counts["late_cases"] += 1
    for window, absence in batch.absences:
        absence_kept, doubt = take_absence(connection, window, absence, now_ms)
        answers.append(Message(window.down(Down.ABSENCE), absence_kept.to_json()))
        doubts.append(doubt)
        outcome.counts["absences"] += 1
    for doubt in filter(None, doubts):
        note(connection, outcome, doubt, now_ms)
    return answers
