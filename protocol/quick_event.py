"""payloads.RecordEvent for ordinary records, written and read without a model.

All that stands in a record event follows from the 128 signed bytes and a few plain values. So the event of an ordinary record is
written from a template, and one that comes is ordinary when it is, byte for byte, what the template makes of the record in it.
Anything else (a name that JSON would escape, another order, one space more) gives None here and goes to the model, which alone
decides what is wrong. A property test holds the two together, in both directions.
Called by the agent's publisher and the collector's verify.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from datetime import UTC, datetime
from typing import Final, NamedTuple

from protocol.levels import Level
from protocol.payloads import MOST_MILLIS
from protocol.record import Kind, Record, RecordFlag, TimeQuality

_EVENT = re.compile(
    rb'\{"specversion":"1\.0","id":"([A-Za-z0-9_-]{1,16}/[0-9]{1,10})","source":"([A-Za-z0-9_/-]{1,80})","type":"hcp\.record\.v1"'
    rb',"time":"[0-9T:.+-]{1,40}","datacontenttype":"application/json","data":\{"device":"([A-Za-z0-9_-]{1,16})","seq":([0-9]{1,10})'
    rb',"record":"([A-Za-z0-9+/]{171}=)","received_at_ms":(0|[1-9][0-9]{0,13})'
    rb'(?:,"reckoned":(\{[^{}]*\}))?,"historical":(true|false)'
    rb'(?:,"case":(\{[^{}]*\}))?,"decoded":(\{[^{}]*\})\}\}'
)
_DEVICE = re.compile(r"[A-Za-z0-9_-]{1,16}")
_MOST_MS: Final = 10**14
"""Beyond it `datetime` ends before the model does."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]*")
_KINDS: Final = {kind: kind.name.lower() for kind in Kind}
_QUALITIES: Final = {quality: quality.name.lower() for quality in TimeQuality}
_LEVELS: Final = {int(level): f',"level":"{level.word}"' for level in Level} | {0: ""}
_FREE_STANDING, _REVISION = int(RecordFlag.FREE_STANDING), int(RecordFlag.REVISION)
_NOBODY: Final = bytes(16)


class QuickEvent(NamedTuple):
    """What an event says beside its record; `event_id`, `seq` and `decoded` are texts that must be compared with the record."""

    event_id: bytes
    source: bytes
    device: str
    seq: bytes
    raw: bytes
    received_at_ms: int
    reckoned_json: bytes | None
    historical: bool
    case_json: bytes | None
    decoded: bytes


def read_event(payload: bytes) -> QuickEvent | None:
    """Take an event apart that looks as `write_event` would write it; None for any other."""
    found = _EVENT.fullmatch(payload)
    if found is None:
        return None
    event_id, source, device, seq, record, received, reckoned, historical, case_json, decoded = found.groups()
    raw, is_historical = a2b_base64(record), historical == b"true"
    return QuickEvent(event_id, source, device.decode(), seq, raw, int(received), reckoned, is_historical, case_json, decoded)


def is_of(event: QuickEvent, source: str, record: Record) -> bool:
    """Tell whether everything around the record in `event` is what this record says."""
    seq = b"%d" % record.seq
    return (
        event.seq == seq
        and event.event_id == b"%s/%s" % (event.device.encode(), seq)
        and event.source == source.encode()
        and event.decoded == _decoded(record)
    )


def write_event(
    source: str,
    device: str,
    record: Record,
    raw: bytes,
    received_at_ms: int,
    case_json: str | None,
    historical: bool,
    reckoned_json: str | None = None,
) -> bytes | None:
    """Return the JSON of the event, as the model would write it; None for a record that is not ordinary.

    `case_json` is a Case and `reckoned_json` a Reckoned as the model writes it.
    """
    decoded = _decoded(record)
    if decoded is None or not 0 <= received_at_ms < _MOST_MS or not _DEVICE.fullmatch(device):
        return None
    time = datetime.fromtimestamp(received_at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    reckoned = f',"reckoned":{reckoned_json}' if reckoned_json is not None else ""
    case = f'"case":{case_json},' if case_json is not None else ""
    return (
        f'{{"specversion":"1.0","id":"{device}/{record.seq}","source":"{source}","type":"hcp.record.v1","time":"{time}"'
        f',"datacontenttype":"application/json","data":{{"device":"{device}","seq":{record.seq}'
        f',"record":"{b2a_base64(raw, newline=False).decode()}","received_at_ms":{received_at_ms}'
        f'{reckoned},"historical":{"true" if historical else "false"},{case}"decoded":{decoded.decode()}}}}}'
    ).encode()


def _decoded(record: Record) -> bytes | None:
    """Return payloads.Decoded of a record as JSON; None when its staff would have to be escaped."""
    if not _PLAIN.fullmatch(record.staff):
        return None
    flags = int(record.flags)
    revises = f',"revises_seq":{record.refers_to}' if flags & _REVISION else ""
    evaluation = f',"evaluation":"{record.evaluation.hex()}"' if record.evaluation != _NOBODY else ""
    staff = f',"staff":"{record.staff}"' if record.staff else ""
    return (
        f'{{"kind":"{_KINDS[record.kind]}"{_LEVELS[record.level]},"pressed_at_ms":{min(record.utc_ms, MOST_MILLIS)}'
        f',"time_quality":"{_QUALITIES[record.quality]}","uncertainty_ms":{record.uncertainty_ms}'
        f',"free_standing":{"true" if flags & _FREE_STANDING else "false"}{revises}{evaluation}{staff}}}'
    ).encode()
