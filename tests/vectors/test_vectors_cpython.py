"""The protocol package, and the programs printed on the protocol page, against the golden vectors."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import FrameError, MessageError, RecordError
from protocol.framing import Frame, FrameDecoder, decode_frame, encode_frame, stuff, unstuff
from protocol.generate import schema
from protocol.messages import BY_CODE, Message, Receipt, parse_message
from protocol.record import Record, parse_record
from protocol.signing import context_digest, derive_device_key, receipt_is_genuine, sign_record, verify_record

ROOT = Path(__file__).resolve().parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "protocol" / "golden_vectors.json").read_text(encoding="utf-8"))
KEY = bytes.fromhex(VECTORS["device_key"])


def each(section: str) -> pytest.MarkDecorator:
    """Run a test for every vector of a section, under the vector's own name."""
    vectors = VECTORS[section]
    return pytest.mark.parametrize("vector", vectors, ids=[str(v.get("name", i)) for i, v in enumerate(vectors)])


def values_of(made: Any, layout: Any) -> dict[str, Any]:
    values = {field.name: getattr(made, field.name) for field in schema.fields_of(layout)}
    return {name: v.hex() if isinstance(v, bytes) else v if isinstance(v, str) else int(v) for name, v in values.items()}


def from_json(layout: Any, values: dict[str, Any]) -> Any:
    found = {}
    for field in schema.fields_of(layout):
        if field.name in values:
            value = values[field.name]
            found[field.name] = bytes.fromhex(value) if field.is_bytes and not field.is_text else value
    return layout(**found)


@each("stuffing")
def test_stuffing(vector: dict[str, str]) -> None:
    body, encoded = bytes.fromhex(vector["body"]), bytes.fromhex(vector["encoded"])
    assert stuff(body) == encoded
    assert unstuff(encoded) == body


@each("frames")
def test_frames(vector: dict[str, Any]) -> None:
    frame = Frame(vector["type"], vector["correlation"], bytes.fromhex(vector["payload"]))
    assert encode_frame(frame).hex() == vector["line"]
    assert FrameDecoder().feed(bytes.fromhex(vector["line"])) == [frame]


@each("bad_frames")
def test_bad_frames(vector: dict[str, str]) -> None:
    with pytest.raises(FrameError) as caught:
        decode_frame(bytes.fromhex(vector["encoded"]))
    assert caught.value.reason == vector["reason"]


@each("messages")
def test_messages(vector: dict[str, Any]) -> None:
    cls = BY_CODE[vector["type"]]
    assert cls.__name__ == vector["message"]
    message: Message = from_json(cls, vector["fields"])
    assert message.pack().hex() == vector["payload"]
    assert encode_frame(message.frame(vector["correlation"])).hex() == vector["line"]
    assert values_of(parse_message(Frame(cls.CODE, 0, bytes.fromhex(vector["payload"]))), cls) == vector["fields"]


@each("extended_messages")
def test_extended_messages(vector: dict[str, Any]) -> None:
    cls = BY_CODE[vector["type"]]
    assert values_of(parse_message(Frame(cls.CODE, 0, bytes.fromhex(vector["payload"]))), cls) == vector["fields"]


@each("bad_messages")
def test_bad_messages(vector: dict[str, Any]) -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(Frame(vector["type"], 0, bytes.fromhex(vector["payload"])))
    assert caught.value.reason == vector["reason"]


def test_every_message_has_vectors() -> None:
    assert {vector["type"] for vector in VECTORS["messages"]} == set(BY_CODE)


@each("keys")
def test_keys(vector: dict[str, str]) -> None:
    assert derive_device_key(bytes.fromhex(vector["hall_key"]), vector["device"]).hex() == vector["device_key"]


@pytest.mark.parametrize("vector", VECTORS["records"] + VECTORS["single_records"], ids=lambda vector: str(vector["name"]))
def test_records(vector: dict[str, Any]) -> None:
    record = sign_record(KEY, from_json(Record, vector["fields"] | {"mac": "00" * 16, "crc": 0}))
    raw = bytes.fromhex(vector["record"])
    assert record.pack() == raw
    assert (record.mac.hex(), record.crc) == (vector["mac"], vector["crc"])
    parsed = parse_record(raw)
    assert {**vector["fields"], "mac": vector["mac"], "crc": vector["crc"]} == values_of(parsed, Record)
    verify_record(KEY, parsed, raw)


def test_records_are_a_chain() -> None:
    before = "00" * 16
    for vector in VECTORS["records"]:
        if vector["fields"]["flags"] & 8:
            before = "00" * 16
        assert vector["fields"]["prev_mac"] == before
        before = vector["mac"]
    assert {vector["fields"]["kind"] for vector in VECTORS["records"]} == set(range(1, 11))


@each("bad_records")
def test_bad_records(vector: dict[str, str]) -> None:
    raw = bytes.fromhex(vector["record"])
    with pytest.raises(RecordError) as caught:
        verify_record(KEY, parse_record(raw), raw)
    assert caught.value.reason == vector["reason"]


@each("receipts")
def test_receipts(vector: dict[str, Any]) -> None:
    receipt = Receipt.unpack(bytes.fromhex(vector["payload"]))
    assert receipt_is_genuine(KEY, vector["device"], receipt) is vector["genuine"]


@each("context_digests")
def test_context_digests(vector: dict[str, Any]) -> None:
    assert context_digest(bytes.fromhex(vector["evaluation"]), vector["case"]).hex() == vector["digest"]
    assert json.loads(vector["text"]) == vector["case"]


def test_the_programs_on_the_page_pass_the_vectors() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Callable[[bytes], bytes]] = {}
    exec(program, names)  # noqa: S102  # the page is ours, and this is how we know that it is right
    for vector in VECTORS["stuffing"]:
        body, encoded = bytes.fromhex(vector["body"]), bytes.fromhex(vector["encoded"])
        assert names["stuff"](body) == encoded
        assert names["unstuff"](encoded) == body
    for vector in VECTORS["bad_frames"]:
        if vector["reason"] == "encoding":
            with pytest.raises(ValueError, match=r"stuffed body|zero is missing"):
                names["unstuff"](bytes.fromhex(vector["encoded"]))
