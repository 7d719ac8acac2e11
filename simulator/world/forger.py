"""The attacker of the world: whoever sits between the agent and the collection and holds no key.

Each way makes of a genuine message an altered copy that is sent beside it, and says which evidence the collector must keep of it. The
copy must never become a rating, and must not keep the genuine one from becoming one.
"""

from __future__ import annotations

import base64
import json
import struct
from binascii import crc32
from collections.abc import Callable
from random import Random
from typing import Any

from collector.ingest.evidence import EvidenceKind
from firmware.evaluator import wire
from protocol.payloads import ReceiptPayload

Message = tuple[str, bytes]

LEVELS = (wire.LEVEL_VERY_SATISFIED, wire.LEVEL_VERY_DISSATISFIED)


def _with_record(event: dict[str, Any], raw: bytearray) -> bytes:
    """Put altered record bytes, with a CRC that fits, into an event whose other fields say the same as they do."""
    struct.pack_into("<I", raw, wire.RECORD_AT_CRC, crc32(memoryview(raw)[: wire.RECORD_AT_CRC]))
    event["data"]["record"] = base64.b64encode(raw).decode()
    return json.dumps(event).encode()


def _level(topic: str, event: dict[str, Any], raw: bytearray, _random: Random) -> Message | None:
    """Make a bad rating a good one, or the other way round."""
    at = wire.RECORD_AT_LEVEL
    if raw[wire.RECORD_AT_KIND] != wire.KIND_RATING:
        return None
    raw[at] = LEVELS[raw[at] == LEVELS[0]]
    return topic, _with_record(event, raw)


def _evaluation(topic: str, event: dict[str, Any], raw: bytearray, random: Random) -> Message:
    """Move a rating to another evaluation."""
    at = wire.RECORD_AT_EVALUATION
    raw[at : at + 16] = random.randbytes(16)
    return topic, _with_record(event, raw)


def _invented(topic: str, event: dict[str, Any], raw: bytearray, random: Random) -> Message:
    """Add a record that no device has written, after all others."""
    seq = event["data"]["seq"] + 1000
    struct.pack_into("<I", raw, wire.RECORD_AT_SEQ, seq)
    raw[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC] = random.randbytes(wire.RECORD_AT_CRC - wire.RECORD_AT_MAC)
    event["data"]["seq"] = seq
    event["id"] = f"{event['data']['device']}/{seq}"
    return topic, _with_record(event, raw)


def _other_device(topic: str, event: dict[str, Any], _raw: bytearray, _random: Random) -> Message:
    """Replay a record as another device's."""
    event["data"]["device"] = "PJQ-9999"
    event["id"] = f"PJQ-9999/{event['data']['seq']}"
    return topic, json.dumps(event).encode()


def _number(topic: str, event: dict[str, Any], _raw: bytearray, _random: Random) -> Message:
    """Say another number around a genuine record."""
    event["data"]["seq"] += 1
    return topic, json.dumps(event).encode()


def _word(topic: str, event: dict[str, Any], _raw: bytearray, _random: Random) -> Message | None:
    """Say another level beside a genuine record, for those who read only that."""
    level = event["data"]["decoded"].get("level")
    if level is None:
        return None
    event["data"]["decoded"]["level"] = "satisfied" if level != "satisfied" else "dissatisfied"
    return topic, json.dumps(event).encode()


def _case(topic: str, event: dict[str, Any], _raw: bytearray, _random: Random) -> Message | None:
    """Attach a rating to another case."""
    if "case" not in event["data"]:
        return None
    event["data"]["case"]["case_no"] = "BJ-0"
    return topic, json.dumps(event).encode()


def _nonsense(topic: str, event: dict[str, Any], _raw: bytearray, random: Random) -> Message:
    """Say something that is no message of ours."""
    text = json.dumps(event).encode()
    return topic, text[: random.randrange(len(text))]


def _hall(topic: str, event: dict[str, Any], _raw: bytearray, _random: Random) -> Message:
    """Publish for a hall that the collection does not know."""
    parts = topic.split("/")
    parts[3] = "ruili"
    event["source"] = "/".join(parts[2:5])
    return "/".join(parts), json.dumps(event).encode()


WAYS: dict[str, tuple[Callable[[str, dict[str, Any], bytearray, Random], Message | None], EvidenceKind]] = {
    "level": (_level, EvidenceKind.WRONG_KEY),
    "evaluation": (_evaluation, EvidenceKind.WRONG_KEY),
    "invented": (_invented, EvidenceKind.WRONG_KEY),
    "other device": (_other_device, EvidenceKind.WRONG_KEY),
    "number": (_number, EvidenceKind.ALTERED),
    "word": (_word, EvidenceKind.ALTERED),
    "case": (_case, EvidenceKind.CASE_MISMATCH),
    "nonsense": (_nonsense, EvidenceKind.MALFORMED),
    "hall": (_hall, EvidenceKind.UNKNOWN_HALL),
}


def forge(way: str, topic: str, payload: bytes, random: Random) -> Message | None:
    """Return the altered copy of a record's message; None for a message that this way cannot use."""
    if not topic.endswith("/record"):
        return None
    event = json.loads(payload)
    return WAYS[way][0](topic, event, bytearray(base64.b64decode(event["data"]["record"])), random)


def forge_receipt(topic: str, payload: bytes, random: Random) -> Message:
    """Return a receipt for everything up to a record that was overheard, with that record's MAC and without the key."""
    data = json.loads(payload)["data"]
    raw = base64.b64decode(data["record"])
    receipt = ReceiptPayload(
        device=data["device"],
        next_seq=data["seq"] + 1,
        record_mac=raw[wire.RECORD_AT_MAC : wire.RECORD_AT_CRC].hex(),
        issued_ms=0,
        mac=random.randbytes(16).hex(),
    )
    return topic.replace("/up/record", "/down/receipt"), receipt.to_json()
