"""MQTT payloads: what is written can be read, and nothing else is taken."""

import json

import pytest

from protocol.errors import PayloadError
from protocol.generate import signed_vectors
from protocol.payloads import Case, Decoded, Health, RecordEvent, State
from protocol.record import Record, parse_record

STATE = State(session="0" * 32, online=True, since_ms=1, agent="1.0.0")
RAW = [bytes.fromhex(vector["record"]) for vector in signed_vectors.chain()]


def event_of(raw: bytes, case: Case | None = None) -> RecordEvent:
    record = parse_record(raw)
    return RecordEvent.of("533100/zwdt/07", "PJQ-0001", record, raw, 1_767_229_200_123, case, False)


def record_at(index: int) -> Record:
    return parse_record(RAW[index])


def test_every_kind_of_record_travels_and_comes_back() -> None:
    for raw in RAW:
        event = event_of(raw, Case(case_no="2026-0001", item_name="居民身份证换领"))
        assert RecordEvent.from_json(event.to_json()) == event
        assert event.data.raw() == raw


def test_an_event_carries_its_dedupe_key_and_time() -> None:
    event = event_of(RAW[2])
    assert event.id == "PJQ-0001/3"
    assert event.time == "2026-01-01T01:00:00.123+00:00"
    assert "case" not in json.loads(event.to_json())["data"]


def test_decoded_fields_tell_a_revision_from_an_extra_press() -> None:
    revision, extra, boot = (Decoded.of(record_at(index)) for index in (3, 4, 0))
    assert (revision.kind, revision.level, revision.revises_seq) == ("rating", "dissatisfied", 3)
    assert (extra.kind, extra.level, extra.revises_seq) == ("extra", "very_satisfied", None)
    assert (boot.level, boot.evaluation, boot.staff, boot.time_quality) == (None, None, None, "none")


def test_a_case_gives_only_what_is_set_to_the_digest() -> None:
    assert Case(case_no="1", dept_name="公安局").fields() == {"case_no": "1", "dept_name": "公安局"}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"session": }'])
def test_what_is_no_json_is_named(data: bytes) -> None:
    with pytest.raises(PayloadError) as caught:
        State.from_json(data)
    assert caught.value.reason == "json"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"session": "xyz"}, "session"),
        ({"online": "true"}, "online"),
        ({"since_ms": -1}, "since_ms"),
        ({"since_ms": "1"}, "since_ms"),
        ({"agent": None}, "agent"),
        ({"onlin": True}, "onlin"),
        ({"device": {"device": "has space", "firmware": "1", "boot": 1, "release_on_ack": False}}, "device.device"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_path(changes: dict[str, object], where: str) -> None:
    data = json.dumps(json.loads(STATE.to_json()) | changes).encode()
    with pytest.raises(PayloadError, match=rf"State\.{where}:") as caught:
        State.from_json(data)
    assert caught.value.reason == "value"


def test_a_payload_that_is_no_object_is_a_bad_value() -> None:
    with pytest.raises(PayloadError, match=r"Health\.payload") as caught:
        Health.from_json(b"[]")
    assert caught.value.reason == "value"


def test_a_record_that_is_no_base64_is_a_bad_value() -> None:
    event = event_of(RAW[0])
    broken = event.data.model_copy(update={"record": "*" * 172})
    with pytest.raises(PayloadError) as caught:
        broken.raw()
    assert caught.value.reason == "value"


def test_whatever_numbers_a_record_holds_it_can_be_published() -> None:
    for vector in signed_vectors.sections()["single_records"]:
        event = event_of(bytes.fromhex(vector["record"]))
        assert RecordEvent.from_json(event.to_json()) == event
