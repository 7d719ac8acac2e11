"""A device on paper: signed records in a chain, and the messages in which an agent publishes them.

For tests of whatever stands behind the agent. It knows the contract and nothing of any room.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from protocol.payloads import Case, RecordEvent
from protocol.record import FORMAT, SEQ_SPAN, Algorithm, Kind, Record, RecordFlag, TimeQuality
from protocol.signing import ZERO_MAC, context_digest, derive_device_key, sign_record
from protocol.topics import Up, Window

HALL_KEY = bytes(range(32))
OTHER_KEY = bytes(reversed(range(32)))
WINDOW = Window("533103", "dating", "07")
EPOCH_MS = 1_780_000_000_000
CASE = Case(case_no="533103-2026-0001", item_name="户口登记")
EVALUATION = bytes(range(16))


@dataclass
class PaperDevice:
    """Writes records; `next_seq` and `prev_mac` may be set to make it lie."""

    device: str = "PJ-0001"
    hall_key: bytes = HALL_KEY
    window: Window = WINDOW
    next_seq: int = 1
    prev_mac: bytes = ZERO_MAC
    written: list[Record] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        return derive_device_key(self.hall_key, self.device)

    def write(
        self,
        kind: Kind = Kind.RATING,
        level: int = 5,
        flags: int = 0,
        refers_to: int = 0,
        value: int = 0,
        evaluation: bytes = bytes(16),
        case: Case | None = None,
    ) -> Record:
        pressed = kind in (Kind.RATING, Kind.EXTRA)
        starts = self.prev_mac == ZERO_MAC and self.next_seq % SEQ_SPAN == 1
        record = sign_record(
            self.key,
            Record(
                format=FORMAT,
                algorithm=Algorithm.HMAC_SHA256_128,
                kind=kind,
                level=level if pressed else 0,
                seq=self.next_seq,
                boot=1,
                uptime_ms=1000 * self.next_seq,
                utc_ms=EPOCH_MS + 1000 * self.next_seq,
                uncertainty_ms=5,
                quality=TimeQuality.SYNCHRONISED,
                flags=RecordFlag(flags | (RecordFlag.NEW_JOURNAL if starts else 0)),
                detail=0,
                refers_to=refers_to,
                value=value,
                evaluation=evaluation,
                context_digest=context_digest(evaluation, case.fields()) if case else bytes(16),
                staff="017",
                prev_mac=self.prev_mac,
                mac=ZERO_MAC,
                crc=0,
            ),
        )
        self.written.append(record)
        self.next_seq, self.prev_mac = record.seq + 1, record.mac
        return record

    def write_many(self, count: int) -> list[Record]:
        """A boot record where a journal begins, then ratings of all levels."""
        starts = self.prev_mac == ZERO_MAC
        return [self.write(Kind.BOOT) if starts and at == 0 else self.write(level=1 + self.next_seq % 5) for at in range(count)]

    def new_journal(self) -> None:
        """Lose everything, and go on at the next multiple of the span."""
        self.next_seq = ((self.next_seq - 1) // SEQ_SPAN + 1) * SEQ_SPAN + 1
        self.prev_mac = ZERO_MAC

    def fork(self) -> PaperDevice:
        """A second device with the same past."""
        return replace(self, written=list(self.written))

    def event(self, record: Record, case: Case | None = None, window: Window | None = None) -> RecordEvent:
        place = window or self.window
        return RecordEvent.of(place.path, self.device, record, record.pack(), EPOCH_MS, case, historical=False)

    def message(self, record: Record, case: Case | None = None, window: Window | None = None) -> tuple[str, bytes]:
        """Topic and payload of a record."""
        return (window or self.window).up(Up.RECORD), self.event(record, case, window).to_json()
