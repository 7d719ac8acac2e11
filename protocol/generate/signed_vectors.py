"""The signed part of the golden vectors: keys, a chain of records, receipts and context digests.

The chain is a short morning at one window that meets every kind of record. Keys and ids are written down here and are
worth nothing outside a test.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

from protocol.levels import Level
from protocol.messages import CancelReason, PauseReason
from protocol.payloads import RemoteAnswer, RemoteRequest
from protocol.record import (
    FORMAT,
    SEQ_SPAN,
    SIGNED_BYTES,
    UNKNOWN_UNCERTAINTY,
    Algorithm,
    Kind,
    LostReason,
    Record,
    RecordFlag,
    TimeQuality,
)
from protocol.remote import answer_bytes, make_answer, make_request, request_bytes
from protocol.signing import ZERO_MAC, context_digest, derive_device_key, derive_remote_key, sign_receipt, sign_record
from protocol.topics import Window

Vector = dict[str, Any]

HALL_KEY: Final = bytes(range(32))
DEVICE: Final = "PJQ-0001"
_KEY: Final = derive_device_key(HALL_KEY, DEVICE)
_OTHER_KEY: Final = derive_device_key(HALL_KEY, "PJQ-0002")
WINDOW: Final = Window("533100", "zwdt", "07")
_REMOTE_KEY: Final = derive_remote_key(HALL_KEY, WINDOW)
_SESSION: Final = "7d0c1f6a52e94b3b8f3e9a6c11d2e047"
_REQUEST_ID: Final = "000647f1a2b3c4d590e1d2c3b4a59687"
_NINE_O_CLOCK: Final = 1_767_229_200_000
_VISITS: Final = [bytes.fromhex(f"0190a5b1c2d37e4f8a9b0000000000{n:02x}") for n in range(1, 4)]
_CASES: Final[list[dict[str, str]]] = [
    {"case_no": "2026-0001"},
    {"case_no": "DH20260101-0042", "item_code": "533100-SFZ", "item_name": "居民身份证换领", "dept_name": "德宏州公安局"},
    {"case_no": 'quote " backslash \\ slash / tab \t', "item_name": "line\nbreak, U+0001 \x01, U+007F \x7f, 景颇族 𠮷"},
]


def sections() -> dict[str, Any]:
    """Return the sections of the file by name."""
    return {
        "keys": [
            {"hall_key": hall_key.hex(), "device": device, "device_key": derive_device_key(hall_key, device).hex()}
            for hall_key in (HALL_KEY, bytes(32), b"\xff" * 32)
            for device in (DEVICE, "1", "sixteen-letters_")
        ],
        "device": DEVICE,
        "device_key": _KEY.hex(),
        "records": chain(),
        "single_records": _single_records(),
        "bad_records": _bad_records(),
        "receipts": _receipts(),
        "remote_keys": [
            {"hall_key": hall_key.hex(), "window": window.path, "remote_key": derive_remote_key(hall_key, window).hex()}
            for hall_key in (HALL_KEY, b"\xff" * 32)
            for window in (WINDOW, Window("000000", "x" * 32, "y" * 32))
        ],
        "remote_requests": _remote_requests(),
        "remote_answers": _remote_answers(),
        "context_digests": [_digest(evaluation, case) for evaluation, case in zip(_VISITS, _CASES, strict=True)],
    }


def asked(kind: str = "records", arguments: str = '{"device":"PJQ-0001","first_seq":3,"last_seq":9}') -> RemoteRequest:
    """Return a request, signed."""
    return make_request(_REMOTE_KEY, WINDOW, _SESSION, _REQUEST_ID, kind, arguments)


def answered(word: str = "ok", body: str = '{"sent_again":5,"asked_of_device":2,"nowhere":0}') -> RemoteAnswer:
    """Return an answer to it, signed."""
    return make_answer(_REMOTE_KEY, WINDOW, _SESSION, _REQUEST_ID, word, body)


def _remote_requests() -> list[Vector]:
    good = asked()
    other = derive_remote_key(HALL_KEY, Window(WINDOW.area, WINDOW.hall, "08"))
    cases = [
        ("records 3 to 9", good, True),
        ("no arguments", asked("status", "{}"), True),
        ("text that is not ASCII, and quotes", asked("log", '{"lines":1,"\u7a97口":"\\""}'), True),
        ("longest kind and arguments", asked("k" * 24, "0" * 512), True),
        ("another session", good.model_copy(update={"session": _REQUEST_ID}), False),
        ("another id", good.model_copy(update={"id": _SESSION}), False),
        ("another kind", good.model_copy(update={"kind": "status"}), False),
        ("other arguments", good.model_copy(update={"arguments": good.arguments.replace("9", "8")}), False),
        ("signed for another window", make_request(other, WINDOW, _SESSION, _REQUEST_ID, "status", "{}"), False),
    ]
    return [
        {
            "name": name,
            "window": WINDOW.path,
            "words": request_bytes(WINDOW, said).hex(),
            "payload": said.to_json().decode(),
            "genuine": genuine,
        }
        for name, said, genuine in cases
    ]


def _remote_answers() -> list[Vector]:
    good = answered()
    cases = [
        ("records are sent again", good, True),
        ("refused", answered("not_allowed", '{"text":"不允许 not allowed"}'), True),
        ("to another request", good.model_copy(update={"request": _SESSION}), False),
        ("a request's MAC", good.model_copy(update={"mac": asked().mac}), False),
    ]
    return [
        {
            "name": name,
            "window": WINDOW.path,
            "words": answer_bytes(WINDOW, said).hex(),
            "payload": said.to_json().decode(),
            "genuine": genuine,
        }
        for name, said, genuine in cases
    ]


def _digest(evaluation: bytes, case: dict[str, str]) -> Vector:
    text = json.dumps(case, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return {
        "evaluation": evaluation.hex(),
        "case": case,
        "text": text,
        "digest": context_digest(evaluation, case).hex(),
    }


def _record(**given: Any) -> Record:
    blank: Vector = {
        "format": FORMAT,
        "algorithm": Algorithm.HMAC_SHA256_128,
        "kind": Kind.RATING,
        "level": 0,
        "seq": 1,
        "boot": 1,
        "uptime_ms": 0,
        "utc_ms": 0,
        "uncertainty_ms": UNKNOWN_UNCERTAINTY,
        "quality": TimeQuality.NONE,
        "flags": RecordFlag(0),
        "detail": 0,
        "refers_to": 0,
        "value": 0,
        "evaluation": bytes(16),
        "context_digest": bytes(16),
        "staff": "",
        "prev_mac": ZERO_MAC,
        "mac": ZERO_MAC,
        "crc": 0,
    }
    return Record(**(blank | given))


def _vector(name: str, record: Record) -> Vector:
    fields = {
        field: value.hex() if isinstance(value, bytes) else value if isinstance(value, str) else int(value)
        for field, value in vars(record).items()
        if field not in ("mac", "crc")
    }
    return {"name": name, "fields": fields, "mac": record.mac.hex(), "crc": record.crc, "record": record.pack().hex()}


def _visit(number: int) -> Vector:
    """Return the fields that bind a record to one of the visits."""
    return {"evaluation": _VISITS[number], "context_digest": context_digest(_VISITS[number], _CASES[number])}


def chain() -> list[Vector]:
    """Return records that follow one another, each with the MAC of the one before."""
    staff = {"staff": "S0815"}
    free = RecordFlag.FREE_STANDING
    story: list[tuple[str, int, Vector]] = [
        ("first start", 40, {"kind": Kind.BOOT, "flags": RecordFlag.NEW_JOURNAL | RecordFlag.NO_HOST}),
        ("sign-in", 61_000, {"kind": Kind.SIGN_IN, **staff}),
        ("rating", 95_000, {"level": Level.VERY_SATISFIED, "value": 4210, **staff, **_visit(0)}),
        (
            "change of mind",
            97_100,
            {"level": 2, "flags": RecordFlag.REVISION, "refers_to": 3, "value": 6310, **staff, **_visit(0)},
        ),
        ("extra press", 102_000, {"kind": Kind.EXTRA, "level": 5, "refers_to": 4, **staff, **_visit(0)}),
        ("expired", 320_000, {"kind": Kind.EXPIRED, "value": 60_000, **staff, **_visit(1)}),
        ("cancelled", 400_000, {"kind": Kind.CANCELLED, "detail": CancelReason.BY_STAFF, **staff, **_visit(2)}),
        ("free-standing rating, no host", 450_000, {"level": 3, "flags": free | RecordFlag.NO_HOST, **staff}),
        ("pause", 500_000, {"kind": Kind.PAUSED, "detail": PauseReason.BREAK, **staff}),
        ("rating while paused", 520_000, {"level": 1, "flags": free | RecordFlag.WHILE_PAUSED, **staff}),
        ("resume", 900_000, {"kind": Kind.RESUMED, **staff}),
        ("sign-out", 7_000_000, {"kind": Kind.SIGN_OUT, **staff}),
        ("second start, one slot unreadable", 38, {"kind": Kind.BOOT, "boot": 2, "value": 1}),
        ("a record cut short", 45, {"kind": Kind.LOST, "boot": 2, "detail": LostReason.CUT_SHORT, "refers_to": 9, "value": 1}),
        ("new journal", 41, {"kind": Kind.BOOT, "boot": 3, "seq": SEQ_SPAN + 1, "flags": RecordFlag.NEW_JOURNAL}),
    ]
    found: list[Vector] = []
    prev_mac, seq = ZERO_MAC, 0
    for name, uptime_ms, given in story:
        seq = given.get("seq", seq + 1)
        time: Vector = {"uptime_ms": uptime_ms}
        if given.get("boot", 1) == 1 and seq > 1:
            time |= {"utc_ms": _NINE_O_CLOCK + uptime_ms, "uncertainty_ms": 120, "quality": TimeQuality.SYNCHRONISED}
        if given.get("flags", RecordFlag(0)) & RecordFlag.NEW_JOURNAL:
            prev_mac = ZERO_MAC
        record = sign_record(_KEY, _record(**(time | {"seq": seq, "prev_mac": prev_mac} | given)))
        found.append(_vector(name, record))
        prev_mac = record.mac
    return found


def _single_records() -> list[Vector]:
    largest = _record(
        level=1,
        seq=0xFFFFFFFF,
        boot=0xFFFFFFFF,
        uptime_ms=(1 << 64) - 1,
        utc_ms=(1 << 64) - 1,
        quality=TimeQuality.STALE,
        flags=RecordFlag(0xFF),
        detail=0xFFFF,
        refers_to=0xFFFFFFFF,
        value=0xFFFFFFFF,
        evaluation=b"\xff" * 16,
        context_digest=b"\xff" * 16,
        staff="窗口人员甲x",
        prev_mac=b"\xff" * 16,
    )
    return [
        _vector("every level: " + level.word, sign_record(_KEY, _record(level=level, seq=10 + level, **_visit(0))))
        for level in Level
    ] + [_vector("largest values, flags without a name", sign_record(_KEY, largest))]


def _altered(raw: bytes, at: int, value: bytes) -> bytes:
    """Return the record with bytes replaced and the CRC made right again, as a forger would."""
    body = (raw[:at] + value + raw[at + len(value) :])[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def _bad_records() -> list[Vector]:
    records = [bytes.fromhex(vector["record"]) for vector in chain()]
    boot, rating = records[0], records[2]
    foreign = sign_record(_OTHER_KEY, _record(level=5)).pack()
    national = sign_record(_KEY, _record(level=5, algorithm=Algorithm.HMAC_SM3_128)).pack()
    cases = [
        ("127 bytes", rating[:-1], "length"),
        ("129 bytes", rating + b"\x00", "length"),
        ("blank flash", b"\xff" * 128, "crc"),
        ("one bit flipped", rating[:3] + bytes([rating[3] ^ 1]) + rating[4:], "crc"),
        ("page cut off by a power cut", rating[:64] + b"\xff" * 64, "crc"),
        ("format of a later version", _altered(rating, 0, b"\x12"), "format"),
        ("algorithm that does not exist", _altered(rating, 1, b"\x09"), "value"),
        ("kind that does not exist", _altered(rating, 2, b"\x63"), "value"),
        ("level 6", _altered(rating, 3, b"\x06"), "value"),
        ("level 0 in a rating", _altered(rating, 3, b"\x00"), "value"),
        ("a level in a boot record", _altered(boot, 3, b"\x05"), "value"),
        ("record number 0", _altered(rating, 4, bytes(4)), "value"),
        ("time quality that does not exist", _altered(rating, 32, b"\x04"), "value"),
        ("staff number that is not UTF-8", _altered(rating, 76, b"\xff\xfe"), "value"),
        ("staff number with a zero inside", _altered(rating, 76, b"S\x00S"), "value"),
        ("SM3, which is not supported yet", national, "algorithm"),
        ("signed with another device's key", foreign, "mac"),
        ("level changed after signing, CRC made right", _altered(rating, 3, b"\x04"), "mac"),
        ("moved to another evaluation, CRC made right", _altered(rating, 44, _VISITS[1]), "mac"),
        ("MAC of zeros", _altered(rating, SIGNED_BYTES, ZERO_MAC), "mac"),
    ]
    return [{"name": name, "record": raw.hex(), "reason": reason} for name, raw, reason in cases]


def _receipts() -> list[Vector]:
    last = chain()[4]
    mac = bytes.fromhex(last["mac"])
    genuine = sign_receipt(_KEY, DEVICE, 6, mac, _NINE_O_CLOCK)
    largest = sign_receipt(_KEY, DEVICE, 0xFFFFFFFF, b"\xff" * 16, (1 << 64) - 1)
    cases = [
        ("covers records 1 to 5", genuine.pack(), True),
        ("largest values", largest.pack(), True),
        ("signed with another device's key", sign_receipt(_OTHER_KEY, DEVICE, 6, mac, _NINE_O_CLOCK).pack(), False),
        ("for another device id", sign_receipt(_KEY, "PJQ-0002", 6, mac, _NINE_O_CLOCK).pack(), False),
        ("number raised after signing", (7).to_bytes(4, "little") + genuine.pack()[4:], False),
    ]
    return [{"name": name, "device": DEVICE, "payload": payload.hex(), "genuine": good} for name, payload, good in cases]
