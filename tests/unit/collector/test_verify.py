"""Every way in which a message can be wrong has a name, and none of them becomes a rating."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from collector.ingest.evidence import Evidence, EvidenceKind
from collector.ingest.verify import Genuine, Verdict, Verifier
from protocol.payloads import Case
from protocol.record import Algorithm
from protocol.signing import sign_record
from protocol.topics import Window
from tests.chains import CASE, EVALUATION, HALL_KEY, OTHER_KEY, WINDOW, PaperDevice

VERIFIER = Verifier({"533103/dating": HALL_KEY})


def judge(topic: str, payload: bytes, window: Window = WINDOW) -> Verdict:
    return VERIFIER.verdict(window, topic, payload)


def changed(message: tuple[str, bytes], **data: Any) -> tuple[str, bytes]:
    """The message with fields of its data replaced."""
    event = json.loads(message[1])
    event["data"] |= data
    return message[0], json.dumps(event).encode()


def kind_of(verdict: Verdict) -> EvidenceKind:
    assert isinstance(verdict, Evidence), verdict
    return verdict.kind


def test_a_signed_record_is_genuine() -> None:
    device = PaperDevice()
    record = device.write(evaluation=EVALUATION, case=CASE)
    verdict = judge(*device.message(record, CASE))
    assert isinstance(verdict, Genuine)
    assert (verdict.record, verdict.raw, verdict.case, verdict.case_matches) == (record, record.pack(), CASE, True)
    assert verdict.doubt is None


def test_a_record_without_a_case_is_genuine_and_says_nothing_about_one() -> None:
    device = PaperDevice()
    verdict = judge(*device.message(device.write()))
    assert isinstance(verdict, Genuine)
    assert verdict.case_matches is None


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"[]", b"{}", b'{"specversion":"1.0"}'])
def test_what_is_no_event_is_malformed(payload: bytes) -> None:
    assert kind_of(judge("t", payload)) is EvidenceKind.MALFORMED


def test_bad_base64_is_malformed() -> None:
    device = PaperDevice()
    message = device.message(device.write())
    assert kind_of(judge(*changed(message, record="!" * 172))) is EvidenceKind.MALFORMED


def test_an_unknown_key_is_malformed() -> None:
    device = PaperDevice()
    assert kind_of(judge(*changed(device.message(device.write()), levle=5))) is EvidenceKind.MALFORMED


def test_a_hall_without_a_key() -> None:
    elsewhere = Window("533103", "erting", "01")
    device = PaperDevice(window=elsewhere)
    assert kind_of(judge(*device.message(device.write()), elsewhere)) is EvidenceKind.UNKNOWN_HALL


def test_a_record_signed_with_another_key_is_a_forgery() -> None:
    device = PaperDevice(hall_key=OTHER_KEY)
    assert kind_of(judge(*device.message(device.write()))) is EvidenceKind.WRONG_KEY


def test_a_level_raised_inside_the_record_is_a_forgery() -> None:
    device = PaperDevice()
    record = device.write(level=1)
    raw = bytearray(record.pack())
    raw[3] = 5
    raw[-4:] = zlib.crc32(bytes(raw[:-4])).to_bytes(4, "little")
    message = changed(device.message(record), record=base64.b64encode(raw).decode())
    assert kind_of(judge(*message)) is EvidenceKind.WRONG_KEY


def test_a_flipped_bit_is_damage() -> None:
    device = PaperDevice()
    record = device.write()
    raw = bytearray(record.pack())
    raw[40] ^= 4
    message = changed(device.message(record), record=base64.b64encode(raw).decode())
    assert kind_of(judge(*message)) is EvidenceKind.DAMAGED


def test_a_newer_record_format_is_unsupported() -> None:
    device = PaperDevice()
    record = device.write()
    raw = bytearray(record.pack())
    raw[0] = 0x12
    raw[-4:] = zlib.crc32(bytes(raw[:-4])).to_bytes(4, "little")
    message = changed(device.message(record), record=base64.b64encode(raw).decode())
    assert kind_of(judge(*message)) is EvidenceKind.UNSUPPORTED


def test_another_algorithm_is_unsupported() -> None:
    device = PaperDevice()
    record = device.write()
    other = sign_record(device.key, type(record)(**(vars(record) | {"algorithm": Algorithm.HMAC_SM3_128})))
    assert kind_of(judge(*device.message(other))) is EvidenceKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("level", "very_satisfied"),
        ("kind", "extra"),
        ("staff", "018"),
        ("pressed_at_ms", 1),
        ("free_standing", True),
        ("revises_seq", 7),
    ],
)
def test_a_changed_decoded_field_is_named_and_makes_no_rating(field: str, value: object) -> None:
    device = PaperDevice()
    message = device.message(device.write(level=1))
    decoded = json.loads(message[1])["data"]["decoded"] | {field: value}
    verdict = judge(*changed(message, decoded=decoded))
    assert kind_of(verdict) is EvidenceKind.ALTERED
    assert isinstance(verdict, Evidence)
    assert field in verdict.text


@pytest.mark.parametrize(("field", "value"), [("id", "PJ-0001/2"), ("id", "PJ-0002/1"), ("source", "533103/dating/08")])
def test_an_envelope_that_contradicts_the_record_is_altered(field: str, value: str) -> None:
    device = PaperDevice()
    topic, payload = device.message(device.write())
    event = json.loads(payload) | {field: value}
    assert kind_of(judge(topic, json.dumps(event).encode())) is EvidenceKind.ALTERED


def test_a_seq_that_contradicts_the_record_is_altered() -> None:
    device = PaperDevice()
    assert kind_of(judge(*changed(device.message(device.write()), seq=2))) is EvidenceKind.ALTERED


def test_a_rating_moved_to_another_case_keeps_the_record_and_loses_the_case() -> None:
    device = PaperDevice()
    record = device.write(level=1, evaluation=EVALUATION, case=CASE)
    verdict = judge(*device.message(record, Case(case_no="another")))
    assert isinstance(verdict, Genuine)
    assert (verdict.case, verdict.case_matches) == (None, False)
    assert verdict.doubt is not None
    assert verdict.doubt.kind is EvidenceKind.CASE_MISMATCH


def test_a_device_id_of_another_device_is_a_forgery() -> None:
    device = PaperDevice()
    message = changed(device.message(device.write()), device="PJ-0002")
    assert kind_of(judge(*message)) is EvidenceKind.WRONG_KEY


def test_every_kind_has_words_and_advice() -> None:
    assert all(kind.chinese and kind.advice for kind in EvidenceKind)
