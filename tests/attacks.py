"""What an administrator of a window PC can send without a device key, one function for each attack by name.

Each gets a device that has written a boot record and three ratings (numbers 1 to 4, of which the first two are collected), and
returns messages. What must come of each stands beside it in ATTACKS: evidence by kind and number, never a rating.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from collector.ingest.evidence import EvidenceKind
from protocol.levels import Level
from protocol.record import Record
from protocol.topics import Up, Window
from tests.chains import OTHER_KEY, PaperDevice

Messages = list[tuple[str, bytes]]
AT_LEVEL, AT_SEQ, AT_EVALUATION, AT_STAFF = 3, 4, 44, 76
OTHER_WINDOW = Window("533103", "dating", "08")
OTHER_HALL = Window("533103", "erting", "07")
UNKNOWN_HALL = Window("533103", "santing", "07")


def beside(message: tuple[str, bytes], decoded: dict[str, Any] | None = None, **data: Any) -> tuple[str, bytes]:
    """The message with other fields around its record."""
    event = json.loads(message[1])
    event["data"] |= data
    event["data"]["decoded"] |= decoded or {}
    event["id"] = f"{event['data']['device']}/{event['data']['seq']}"
    return message[0], json.dumps(event).encode()


def inside(device: PaperDevice, record: Record, at: int, value: bytes) -> tuple[str, bytes]:
    """The message of the record with other bytes in it, a CRC that fits, and fields beside it that agree."""
    raw = bytearray(record.pack())
    raw[at : at + len(value)] = value
    raw[-4:] = zlib.crc32(bytes(raw[:-4])).to_bytes(4, "little")
    seq = int.from_bytes(raw[AT_SEQ : AT_SEQ + 4], "little")
    decoded = {"level": Level(raw[AT_LEVEL]).word} if raw[AT_LEVEL] else {}
    return beside(device.message(record), decoded, seq=seq, record=base64.b64encode(raw).decode())


def wrong_key(device: PaperDevice) -> Messages:
    forger = PaperDevice(device.device, OTHER_KEY)
    return [forger.message(record) for record in forger.write_many(4)[2:]]


def altered_level(device: PaperDevice) -> Messages:
    return [inside(device, device.written[2], AT_LEVEL, b"\x05")]


def altered_level_beside_the_record(device: PaperDevice) -> Messages:
    return [beside(device.message(device.written[2]), {"level": "very_satisfied"})]


def swapped_evaluation(device: PaperDevice) -> Messages:
    return [inside(device, device.written[2], AT_EVALUATION, b"E" * 16)]


def swapped_evaluation_beside_the_record(device: PaperDevice) -> Messages:
    return [beside(device.message(device.written[2]), {"evaluation": "ab" * 16})]


def swapped_case(device: PaperDevice) -> Messages:
    return [beside(device.message(device.written[2]), case={"case_no": "somebody else's"})]


def swapped_staff(device: PaperDevice) -> Messages:
    return [inside(device, device.written[2], AT_STAFF, b"018")]


def swapped_staff_beside_the_record(device: PaperDevice) -> Messages:
    return [beside(device.message(device.written[2]), {"staff": "018"})]


def invented_beyond_the_end(device: PaperDevice) -> Messages:
    return [inside(device, device.written[3], AT_SEQ, (90).to_bytes(4, "little"))]


def invented_in_the_middle(device: PaperDevice) -> Messages:
    return [inside(device, device.written[1], AT_SEQ, (3).to_bytes(4, "little"))]


def invented_before_the_start(device: PaperDevice) -> Messages:
    return [inside(device, device.written[1], AT_SEQ, bytes(4))]


def reordered_by_number(device: PaperDevice) -> Messages:
    third, fourth = device.written[2:4]
    return [inside(device, third, AT_SEQ, b"\x04"), inside(device, fourth, AT_SEQ, b"\x03")]


def replayed_under_another_device_id(device: PaperDevice) -> Messages:
    other = PaperDevice("X-STOLEN")
    return [beside(other.message(record), device=device.device) for record in other.write_many(4)[2:]]


def replayed_at_another_window_as_it_was(device: PaperDevice) -> Messages:
    return [(OTHER_WINDOW.up(Up.RECORD), device.message(device.written[1])[1])]


def replayed_at_another_window_rewritten(device: PaperDevice) -> Messages:
    return [device.message(device.written[1], window=OTHER_WINDOW)]


def replayed_at_another_hall(device: PaperDevice) -> Messages:
    return [device.message(device.written[1], window=OTHER_HALL)]


def replayed_at_a_hall_nobody_knows(device: PaperDevice) -> Messages:
    return [device.message(device.written[1], window=UNKNOWN_HALL)]


def cloned_key(device: PaperDevice) -> Messages:
    clone = device.fork()
    clone.next_seq, clone.prev_mac = 2, device.written[0].mac
    return [clone.message(clone.write(level=5))]


def cloned_key_that_goes_on(device: PaperDevice) -> Messages:
    clone = device.fork()
    clone.next_seq, clone.prev_mac = 2, device.written[0].mac
    clone.write(level=5)
    clone.next_seq = 6
    return [clone.message(clone.write(level=5))]


def truncated_base64(device: PaperDevice) -> Messages:
    record = base64.b64encode(device.written[2].pack()).decode()
    return [beside(device.message(device.written[2]), record=record[:-4])]


def bad_base64(device: PaperDevice) -> Messages:
    return [beside(device.message(device.written[2]), record="!" * 172)]


def damaged_record(device: PaperDevice) -> Messages:
    raw = bytearray(device.written[2].pack())
    raw[40] ^= 1
    return [beside(device.message(device.written[2]), record=base64.b64encode(raw).decode())]


def json_that_says_the_level_twice(device: PaperDevice) -> Messages:
    topic, payload = device.message(device.written[2])
    return [
        (
            topic,
            payload.replace(
                b'"level":', b'"level":"very_satisfied","level":"very_dissatisfied","level":"satisfied","level":', 1
            ),
        )
    ]


def json_that_says_another_level_last(device: PaperDevice) -> Messages:
    topic, payload = device.message(device.written[2])
    return [(topic, payload.replace(b',"pressed_at_ms"', b',"level":"dissatisfied","pressed_at_ms"', 1))]


def giant_payload(device: PaperDevice) -> Messages:
    return [(device.window.up(Up.RECORD), b'{"specversion":"' + b"1" * 1_000_000 + b'"}')]


def deep_nesting(device: PaperDevice) -> Messages:
    return [(device.window.up(Up.RECORD), b"[" * 100_000)]


def zero_in_a_text(device: PaperDevice) -> Messages:
    topic, payload = device.message(device.written[2])
    return [(topic, payload.replace(b'"id":"', b'"id":"\\u0000', 1))]


@dataclass(frozen=True)
class Attack:
    """`evidence` is a set of kind and number; `names_device` is False where the message names none that can be believed."""

    make: Callable[[PaperDevice], Messages]
    evidence: set[tuple[EvidenceKind, int | None]]
    names_device: bool = True
    counted_as: str = ""
    """The counter of `collector status` where there is no evidence because nothing was wrong with the record itself."""


_K = EvidenceKind
_UNNAMED = replace(Attack(lambda _: [], {(_K.MALFORMED, None)}), names_device=False)

ATTACKS = {
    attack.make.__name__: attack
    for attack in (
        Attack(wrong_key, {(_K.WRONG_KEY, 3), (_K.WRONG_KEY, 4)}),
        Attack(altered_level, {(_K.WRONG_KEY, 3)}),
        Attack(altered_level_beside_the_record, {(_K.ALTERED, 3)}),
        Attack(swapped_evaluation, {(_K.WRONG_KEY, 3)}),
        Attack(swapped_evaluation_beside_the_record, {(_K.ALTERED, 3)}),
        Attack(swapped_case, {(_K.CASE_MISMATCH, 3)}),
        Attack(swapped_staff, {(_K.WRONG_KEY, 3)}),
        Attack(swapped_staff_beside_the_record, {(_K.ALTERED, 3)}),
        Attack(invented_beyond_the_end, {(_K.WRONG_KEY, 90)}),
        Attack(invented_in_the_middle, {(_K.WRONG_KEY, 3)}),
        Attack(invented_before_the_start, {(_K.MALFORMED, 0)}),
        Attack(reordered_by_number, {(_K.WRONG_KEY, 3), (_K.WRONG_KEY, 4)}),
        Attack(replayed_under_another_device_id, {(_K.WRONG_KEY, 3), (_K.WRONG_KEY, 4)}),
        Attack(replayed_at_another_window_as_it_was, {(_K.ALTERED, 2)}),
        Attack(replayed_at_another_window_rewritten, set(), counted_as="duplicate"),
        Attack(replayed_at_another_hall, {(_K.WRONG_KEY, 2)}),
        Attack(replayed_at_a_hall_nobody_knows, {(_K.UNKNOWN_HALL, 2)}),
        Attack(cloned_key, {(_K.CONFLICT, 2)}),
        replace(_UNNAMED, make=truncated_base64),
        replace(_UNNAMED, make=bad_base64),
        Attack(damaged_record, {(_K.DAMAGED, 3)}),
        Attack(json_that_says_the_level_twice, set(), counted_as="duplicate"),
        Attack(json_that_says_another_level_last, {(_K.ALTERED, 3)}),
        replace(_UNNAMED, make=giant_payload),
        replace(_UNNAMED, make=deep_nesting),
        Attack(zero_in_a_text, {(_K.ALTERED, 3)}),
    )
}
