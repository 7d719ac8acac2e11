"""From topic and bytes to a verdict: genuine, or evidence of a named kind.

The 128 signed bytes are the truth. Everything around them (event id, source, the decoded fields, the case) must agree with
them; the first thing that does not decides the kind. Nothing here stores, logs or asks for the time.
Called by ingest/core for each message; pure but for a bounded cache of derived device keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from collector.ingest.evidence import KEPT_BYTES, Evidence, EvidenceKind
from protocol.errors import PayloadError, RecordError
from protocol.payloads import Case, Decoded, Reckoned, RecordData, RecordEvent
from protocol.quick_event import QuickEvent, is_of, read_event
from protocol.quick_record import quick_parse
from protocol.record import Record
from protocol.signing import context_digest, derive_device_key, verify_record
from protocol.topics import Window

KEYS_CACHED = 4096
"""Derived keys kept; bounded, because device ids in messages are anybody's to invent."""

_KIND_OF_RECORD_ERROR = {
    "crc": EvidenceKind.DAMAGED,
    "format": EvidenceKind.UNSUPPORTED,
    "algorithm": EvidenceKind.UNSUPPORTED,
    "mac": EvidenceKind.WRONG_KEY,
}


class Genuine(NamedTuple):
    """A record that its device has signed.

    `case` is set only when it is the signed one. `case_matches` is None when no case came, False when a wrong one did;
    then `doubt` is the evidence.
    """

    window: Window
    device: str
    record: Record
    raw: bytes
    agent_received_ms: int
    historical: bool
    case: Case | None
    case_matches: bool | None
    doubt: Evidence | None
    reckoned: Reckoned | None = None


Verdict = Genuine | Evidence


class Verifier:
    """Checks record messages against the keys of the halls, `{"area/hall": 32 bytes}`."""

    def __init__(self, hall_keys: Mapping[str, bytes]) -> None:
        self._hall_keys = dict(hall_keys)
        self._device_key = lru_cache(KEYS_CACHED)(self._derive)

    def device_key(self, window: Window, device: str) -> bytes | None:
        """Return the key of a device at a window, or None when the hall is unknown."""
        return self._device_key(f"{window.area}/{window.hall}", device)

    def verdict(self, window: Window, topic: str, payload: bytes) -> Verdict:
        """Return what a message on a record topic is."""
        event = read_event(payload)
        ordinary = self._ordinary(window, event) if event is not None else None
        return ordinary or self._examine(window, topic, payload)

    def _ordinary(self, window: Window, event: QuickEvent) -> Genuine | None:
        """Return the record of an event in which nothing is wrong; None when it must be examined."""
        key = self.device_key(window, event.device)
        if key is None:
            return None
        try:
            record = quick_parse(event.raw)
            verify_record(key, record, event.raw)
            case = Case.from_json(event.case_json) if event.case_json is not None else None
            reckoned = Reckoned.from_json(event.reckoned_json) if event.reckoned_json is not None else None
        except (RecordError, PayloadError):
            return None
        if not is_of(event, window.path, record):
            return None
        if case is not None and context_digest(record.evaluation, case.fields()) != record.context_digest:
            return None
        matches = None if case is None else True
        return Genuine(
            window, event.device, record, event.raw, event.received_at_ms, event.historical, case, matches, None, reckoned
        )

    def unknown_hall(self, window: Window, topic: str, device: str | None, seq: int | None, payload: bytes) -> Evidence:
        """Return the evidence of a message from a hall that has no key here."""
        text = f"no key for hall {window.area}/{window.hall}"
        return Evidence(EvidenceKind.UNKNOWN_HALL, topic, window, device, seq, text, payload[:KEPT_BYTES])

    def _examine(self, window: Window, topic: str, payload: bytes) -> Verdict:
        """Return what a message is, whatever it is."""
        try:
            data = RecordEvent.from_json(payload)
            raw = data.data.raw()
        except PayloadError as error:
            return Evidence(EvidenceKind.MALFORMED, topic, window, None, None, str(error), payload[:KEPT_BYTES])
        return self._judge(window, topic, data, raw)

    def _judge(self, window: Window, topic: str, event: RecordEvent, raw: bytes) -> Verdict:
        data = event.data

        def bad(kind: EvidenceKind, text: str, seq: int | None = data.seq) -> Evidence:
            return Evidence(kind, topic, window, data.device, seq, text, event.to_json()[:KEPT_BYTES])

        key = self.device_key(window, data.device)
        if key is None:
            return self.unknown_hall(window, topic, data.device, data.seq, event.to_json())
        try:
            record = quick_parse(raw)
            verify_record(key, record, raw)
        except RecordError as error:
            return bad(_KIND_OF_RECORD_ERROR.get(error.reason, EvidenceKind.MALFORMED), str(error))
        contradiction = _contradiction(window, event, record)
        if contradiction:
            return bad(EvidenceKind.ALTERED, contradiction, record.seq)
        matches, doubt = _judge_case(data, record)
        return Genuine(
            window=window,
            device=data.device,
            record=record,
            raw=raw,
            agent_received_ms=data.received_at_ms,
            historical=data.historical,
            case=data.case if matches else None,
            case_matches=matches,
            doubt=bad(EvidenceKind.CASE_MISMATCH, doubt) if doubt else None,
            reckoned=data.reckoned,
        )

    def _derive(self, hall: str, device: str) -> bytes | None:
        hall_key = self._hall_keys.get(hall)
        return None if hall_key is None else derive_device_key(hall_key, device)


def _contradiction(window: Window, event: RecordEvent, record: Record) -> str:
    data = event.data
    if data.seq != record.seq:
        return f"seq says {data.seq}, the signed record {record.seq}"
    if event.id != f"{data.device}/{record.seq}":
        return f"id says {event.id!r}, the signed record is {data.device}/{record.seq}"
    if event.source != window.path:
        return f"source says {event.source!r}, the topic {window.path}"
    signed = Decoded.of(record)
    if data.decoded == signed:
        return ""
    wrong = [name for name in Decoded.model_fields if getattr(data.decoded, name) != getattr(signed, name)]
    return f"decoded fields differ from the signed record: {', '.join(wrong)}"


def _judge_case(data: RecordData, record: Record) -> tuple[bool | None, str]:
    if data.case is None:
        return None, ""
    if context_digest(record.evaluation, data.case.fields()) == record.context_digest:
        return True, ""
    return False, "the case is not the one whose digest the device signed"
