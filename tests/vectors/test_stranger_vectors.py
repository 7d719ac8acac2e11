"""The golden vectors, run over a device that was written from docs/protocol.md alone.

What only a reader of records or a host computes is written here, from the same page; the device has no use for it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import stranger_device as stranger

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "protocol" / "golden_vectors.json").read_text("utf-8"))
Answers = list[tuple[int, dict[str, Any]]]
KEY = bytes.fromhex(VECTORS["device_key"])


def cases(section: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[section], ids=lambda case: case["name"])


def in_hex(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


def from_hex(rows: tuple[stranger.Field, ...], fields: dict[str, Any]) -> dict[str, Any]:
    return {row.name: bytes.fromhex(fields[row.name]) if row.form == "b" else fields[row.name] for row in rows}


def read_record(record: bytes, key: bytes | None = None) -> dict[str, Any]:
    """Check in the order of the page's section The record; ValueError names the reason."""
    if len(record) != 128:
        raise ValueError("length")
    if zlib.crc32(record[:124]) != int.from_bytes(record[124:], "little"):
        raise ValueError("crc")
    if record[0] != stranger.RECORD_FORMAT:
        raise ValueError("format")
    try:
        fields = stranger.unpack_fields(stranger.SIGNED_FIELDS, record[:108])
    except ValueError as error:
        raise ValueError("value") from error
    rates = fields["kind"] in (stranger.Kind.RATING, stranger.Kind.EXTRA)
    if rates != (fields["level"] > 0) or fields["seq"] == 0:
        raise ValueError("value")
    if key is not None:
        if fields["algorithm"] != stranger.HMAC_SHA256_128:
            raise ValueError("algorithm")
        if record[108:124] != hmac.digest(key, record[:108], "sha256")[:16]:
            raise ValueError("mac")
    return fields


def derive_device_key(hall_key: bytes, device: str) -> bytes:
    return hmac.digest(hall_key, b"hcp device key 1\0" + device.encode().ljust(16, b"\0"), "sha256")


def context_digest(evaluation: bytes, text: str) -> bytes:
    return hashlib.sha256(b"hcp case 1\0" + evaluation + text.encode()).digest()[:16]


def test_constants() -> None:
    assert VECTORS["protocol_version"] == stranger.PROTOCOL_VERSION
    assert int(VECTORS["schema_hash"], 16) == stranger.SCHEMA_HASH
    assert VECTORS["limits"]["encoded"] == stranger.LONGEST_ENCODED


@cases("stuffing")
def test_stuffing(case: dict[str, Any]) -> None:
    assert stranger.stuff(bytes.fromhex(case["body"])).hex() == case["encoded"]
    assert stranger.unstuff(bytes.fromhex(case["encoded"])).hex() == case["body"]


@cases("frames")
def test_frames(case: dict[str, Any]) -> None:
    payload, line = bytes.fromhex(case["payload"]), bytes.fromhex(case["line"])
    assert stranger.pack_frame(case["type"], case["correlation"], payload) == line
    reader = stranger.FrameReader()
    found = [frame for byte in line for frame in reader.read(bytes([byte]))]
    assert found == [(case["type"], case["correlation"], payload)]
    assert reader.bad_frames == 0


@cases("bad_frames")
def test_bad_frames_are_counted_and_the_next_good_one_is_found(case: dict[str, Any]) -> None:
    encoded = bytes.fromhex(case["encoded"])
    with pytest.raises(ValueError, match=case["reason"]):
        stranger.unpack_frame(encoded)
    reader = stranger.FrameReader()
    good = stranger.pack_frame(stranger.Message.STATUS_REQUEST, 7, b"")
    assert reader.read(b"\0" + encoded + good) == [(stranger.Message.STATUS_REQUEST, 7, b"")]
    assert reader.bad_frames == 1


@cases("messages")
def test_messages(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["payload"])
    fields = from_hex(stranger.LAYOUTS[case["type"]], case["fields"])
    assert stranger.pack_message(case["type"], fields) == payload
    assert stranger.unpack_message(case["type"], payload) == fields
    assert stranger.pack_frame(case["type"], case["correlation"], payload).hex() == case["line"]


@cases("extended_messages")
def test_extended_messages(case: dict[str, Any]) -> None:
    fields = stranger.unpack_message(case["type"], bytes.fromhex(case["payload"]))
    assert in_hex(fields) == case["fields"]


@cases("bad_messages")
def test_bad_messages(case: dict[str, Any]) -> None:
    codes = {"type": stranger.ErrorCode.UNKNOWN_TYPE, "length": stranger.ErrorCode.LENGTH, "value": stranger.ErrorCode.VALUE}
    with pytest.raises(stranger.Refused) as refused:
        stranger.unpack_message(case["type"], bytes.fromhex(case["payload"]))
    assert refused.value.code == codes[case["reason"]]


@pytest.mark.parametrize(
    "case",
    [case for case in VECTORS["bad_messages"] if case["type"] < stranger.Message.HELLO_ANSWER],
    ids=lambda case: case["name"],
)
def test_the_device_answers_bad_requests(case: dict[str, Any]) -> None:
    codes = {"type": stranger.ErrorCode.UNKNOWN_TYPE, "length": stranger.ErrorCode.LENGTH, "value": stranger.ErrorCode.VALUE}
    device = stranger.Device("PJQ-0001", KEY)
    device.receive(hello(), 0)
    device.take_output()
    device.receive(stranger.pack_frame(case["type"], 9, bytes.fromhex(case["payload"])), 10)
    ((kind, correlation, payload),) = stranger.FrameReader().read(device.take_output())
    assert (kind, correlation) == (stranger.Message.ERROR, 9)
    assert stranger.unpack_message(kind, payload) == {"code": codes[case["reason"]], "about": case["type"], "detail": 0}
    assert device.journal.next == 1  # nothing was recorded


def test_the_device_ignores_its_own_words_echoed() -> None:
    device = stranger.Device("PJQ-0001", KEY)
    device.receive(hello(), 0)
    device.take_output()
    for kind in (0x40, 0x41, 0x7F, 0xFF):
        device.receive(stranger.pack_frame(kind, 9, b""), 10)
    assert device.take_output() == b""


@pytest.mark.parametrize("case", VECTORS["keys"], ids=lambda case: f"{case['hall_key'][:2]} {case['device']}")
def test_keys(case: dict[str, Any]) -> None:
    assert derive_device_key(bytes.fromhex(case["hall_key"]), case["device"]).hex() == case["device_key"]


@cases("records")
def test_records(case: dict[str, Any]) -> None:
    assert_record(case)


@cases("single_records")
def test_single_records(case: dict[str, Any]) -> None:
    assert_record(case)


def assert_record(case: dict[str, Any]) -> None:
    fields = from_hex(stranger.SIGNED_FIELDS, case["fields"])
    record = stranger.sign_record(fields, KEY)
    assert record.hex() == case["record"]
    assert read_record(record, KEY) == fields
    assert (record[108:124].hex(), int.from_bytes(record[124:], "little")) == (case["mac"], case["crc"])


@cases("bad_records")
def test_bad_records(case: dict[str, Any]) -> None:
    key = KEY if case["reason"] in ("algorithm", "mac") else None
    with pytest.raises(ValueError, match=f"^{case['reason']}$"):
        read_record(bytes.fromhex(case["record"]), key)


@cases("receipts")
def test_receipts(case: dict[str, Any]) -> None:
    receipt = stranger.unpack_message(stranger.Message.RECEIPT, bytes.fromhex(case["payload"]))
    assert stranger.receipt_is_genuine(receipt, KEY, case["device"]) == case["genuine"]


@pytest.mark.parametrize("case", VECTORS["context_digests"], ids=lambda case: case["evaluation"][-2:])
def test_context_digests(case: dict[str, Any]) -> None:
    text = json.dumps(case["case"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert text == case["text"]
    assert context_digest(bytes.fromhex(case["evaluation"]), text).hex() == case["digest"]


# The device, driven so that it writes the vectors' own chain of records


def hello(window: int = 32, version: int = 1) -> bytes:
    fields = {"version_min": version, "version_max": version, "schema_hash": 0, "session": 5, "window": window}
    return stranger.pack_frame(stranger.Message.HELLO, 1, stranger.pack_message(stranger.Message.HELLO, fields))


def ask(device: stranger.Device, now_ms: int, kind: stranger.Message, **fields: Any) -> Answers:
    device.receive(stranger.pack_frame(kind, 1 + now_ms % 60_000, stranger.pack_message(kind, fields)), now_ms)
    return said(device)


def said(device: stranger.Device) -> Answers:
    frames = stranger.FrameReader().read(device.take_output())
    return [(kind, stranger.unpack_message(kind, payload)) for kind, _, payload in frames]


def kept_alive(device: stranger.Device, now_ms: int) -> None:
    """A host that has said nothing for long comes back and tells the time."""
    device.receive(hello(), now_ms)
    at = {"utc_ms": 1767229200000 + now_ms, "uncertainty_ms": 120, "source": 2}
    assert ask(device, now_ms, stranger.Message.TIME, **at)[-1][0] == stranger.Message.STATUS


def test_the_device_writes_the_chain_of_the_vectors() -> None:
    wanted = [record["fields"] | {"record": record["record"]} for record in VECTORS["records"][:12]]
    device = stranger.Device("PJQ-0001", KEY)
    message = stranger.Message

    def at(index: int, before: int = 0, alive: bool = True) -> int:
        now_ms = int(wanted[index]["uptime_ms"]) - before
        if alive:
            kept_alive(device, now_ms)
        return now_ms

    def open_for(index: int, before: int, timeout_ms: int) -> None:
        fields = wanted[index]
        about = {name: bytes.fromhex(fields[name]) for name in ("evaluation", "context_digest")}
        answers = ask(device, at(index, before), message.OPEN, **about, timeout_ms=timeout_ms, language=0)
        assert answers == [(message.DONE, {})]

    done: Answers = [(message.DONE, {})]
    # The page lets a device write BOOT at its start or with its first record. The vectors show the former, this device does
    # the latter, so the chain is compared field by field and not byte for byte.
    assert ask(device, at(1), message.SIGN_IN, staff="S0815") == done
    open_for(2, 4210, 60_000)
    assert device.press(5, at(2))
    assert device.press(2, at(3, alive=False))
    assert device.press(5, at(4, alive=False))
    open_for(5, 60_000, 60_000)
    device.tick(at(5))
    open_for(6, 5_000, 60_000)
    cancel = {"evaluation": bytes.fromhex(wanted[6]["evaluation"]), "reason": 1}
    assert ask(device, at(6), message.CANCEL, **cancel) == done
    assert device.press(3, at(7, alive=False))
    assert ask(device, at(8), message.PAUSE, reason=1) == done
    assert device.press(1, at(9))
    assert ask(device, at(10), message.RESUME) == done
    assert ask(device, at(11), message.SIGN_OUT) == done

    previous = bytes(16)
    own = ("format", "algorithm", "prev_mac", "record", "seq")
    for number, fields in enumerate(wanted, 1):
        record = device.journal.read(number)
        written = read_record(record, KEY)
        assert written["prev_mac"] == previous
        previous = record[108:124]
        if number == 1:
            assert (written["kind"], written["flags"] & 8) == (stranger.Kind.BOOT, 8)
        else:
            assert written["seq"] == number
            assert {name: in_hex(written)[name] for name in fields if name not in own} == {
                name: value for name, value in fields.items() if name not in own
            }


# Rules of the conversation


def signed_receipt(next_seq: int, record_mac: bytes) -> dict[str, Any]:
    rest = next_seq.to_bytes(4, "little") + record_mac + (7).to_bytes(8, "little")
    mac = hmac.digest(KEY, b"hcp receipt 1\0" + b"PJQ-0001".ljust(16, b"\0") + rest, "sha256")[:16]
    return {"next_seq": next_seq, "record_mac": record_mac, "issued_ms": 7, "mac": mac}


def test_silent_before_hello_and_after_silence_but_takes_presses() -> None:
    device = stranger.Device("PJQ-0001", KEY)
    assert device.press(4, 100)
    assert said(device) == []
    (refusal,) = ask(device, 200, stranger.Message.STATUS_REQUEST)
    assert (refusal[0], refusal[1]["code"]) == (stranger.Message.ERROR, stranger.ErrorCode.NO_HELLO)
    device.receive(hello(), 300)
    assert [kind for kind, _ in said(device)] == [stranger.Message.HELLO_ANSWER]
    device.tick(1_000)
    assert said(device) == []  # no records before Start
    assert [kind for kind, _ in ask(device, 1_100, stranger.Message.START, next_seq=0)] == [0x41, 0x43, 0x43]
    device.tick(16_200)
    device.take_output()
    device.tick(60_000)
    assert said(device) == []
    assert device.press(1, 60_000)
    assert said(device) == []


def test_window_repetition_and_back_off() -> None:
    device = stranger.Device("PJQ-0001", KEY)
    for press in range(6):
        assert device.press(3, press * 20_000)
    start = 200_000
    device.receive(hello(window=3), start)
    ask(device, start, stranger.Message.START, next_seq=0)
    sent = []
    for now_ms in range(start, start + 14_000, 10):
        device.tick(now_ms)
        sent += [(now_ms - start, len(said(device)))] if device._output else []
    assert [count for _, count in sent] == [3] * len(sent)
    gaps = [after - before for (before, _), (after, _) in zip([(0, 0), *sent], sent, strict=False)]
    assert gaps == [300, 600, 1200, 2400, 4800]
    device.receive(hello(window=3), start + 15_000)
    ask(device, start + 15_000, stranger.Message.START, next_seq=0)
    numbers: list[int] = []
    for round_trip in range(1, 5):
        device.receive(
            stranger.pack_frame(0x30, 0, stranger.pack_message(0x30, {"next_seq": 2 * round_trip})),
            start + 15_000 + 20 * round_trip,
        )
        numbers += [int.from_bytes(fields["record"][4:8], "little") for _, fields in said(device)]
    assert numbers == [4, 5, 6, 7]


def test_receipts_and_a_full_journal() -> None:
    device = stranger.Device("PJQ-0001", KEY, capacity=3)
    device.receive(hello(), 0)
    device.take_output()
    assert device.press(5, 0)  # BOOT and the rating
    assert device.press(4, 20_000)
    assert not device.press(4, 40_000)
    device.receive(hello(), 40_000)
    device.take_output()
    ((_, status),) = ask(device, 40_000, stranger.Message.STATUS_REQUEST)
    assert (status["free"], status["conditions"]) == (0, 1)
    about = {"evaluation": b"e" * 16, "context_digest": bytes(16), "timeout_ms": 1_000, "language": 0}
    ((_, refusal),) = ask(device, 40_010, stranger.Message.OPEN, **about)
    assert refusal["code"] == stranger.ErrorCode.JOURNAL_FULL
    mac = device.journal.read(2)[108:124]
    for wrong in (signed_receipt(3, b"x" * 16), signed_receipt(5, mac), signed_receipt(3, mac) | {"mac": bytes(16)}):
        assert said_error(ask(device, 40_020, stranger.Message.RECEIPT, **wrong)) == stranger.ErrorCode.RECEIPT
        assert device.journal.free == 0
    assert ask(device, 40_030, stranger.Message.RECEIPT, **signed_receipt(3, mac)) == [(stranger.Message.DONE, {})]
    older = signed_receipt(2, device.journal.read(1)[108:124])
    assert ask(device, 40_040, stranger.Message.RECEIPT, **older) == [(stranger.Message.DONE, {})]
    assert device.journal.free == 2
    assert device.press(4, 40_050)
    assert device.journal.oldest == 2


def said_error(answers: Answers) -> int | None:
    return next((fields["code"] for kind, fields in answers if kind == stranger.Message.ERROR), None)


def test_repeated_and_impossible_requests() -> None:
    device = stranger.Device("PJQ-0001", KEY)
    message = stranger.Message
    done: Answers = [(message.DONE, {})]
    device.receive(hello(version=2), 0)
    ((_, refusal),) = said(device)
    assert (refusal["code"], refusal["detail"]) == (stranger.ErrorCode.VERSION, 0x101)
    device.receive(hello(), 0)
    device.take_output()
    about = {"evaluation": b"e" * 16, "context_digest": b"d" * 16, "timeout_ms": 60_000, "language": 0}
    for wrong in (about | {"evaluation": bytes(16)}, about | {"timeout_ms": 999}, about | {"timeout_ms": 3_600_001}):
        assert said_error(ask(device, 1, message.OPEN, **wrong)) == stranger.ErrorCode.VALUE
    assert said_error(ask(device, 1, message.SIGN_IN, staff="")) == stranger.ErrorCode.VALUE
    assert device.journal.next == 1
    for _ in range(2):
        assert ask(device, 10, message.SIGN_IN, staff="S1") == done
        assert ask(device, 10, message.PAUSE, reason=0) == done
        assert ask(device, 10, message.OPEN, **about) == done
    assert said_error(ask(device, 10, message.CANCEL, evaluation=b"f" * 16, reason=1)) == stranger.ErrorCode.EVALUATION
    assert device.journal.next == 4
    assert ask(device, 20, message.OPEN, **(about | {"evaluation": b"f" * 16})) == done
    superseded = read_record(device.journal.read(4), KEY)
    assert (superseded["kind"], superseded["detail"]) == (stranger.Kind.CANCELLED, 2)
    for _ in range(2):
        assert ask(device, 30, message.CANCEL, evaluation=b"f" * 16, reason=1) == done
        assert ask(device, 30, message.OPEN, **(about | {"evaluation": b"f" * 16})) == done
    assert device.journal.next == 6
