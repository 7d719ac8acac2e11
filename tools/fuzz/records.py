"""The signed record and the event around it: the quick way of reading and the contract's own never disagree."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from collector.ingest.evidence import KEPT_BYTES, Evidence
from collector.ingest.verify import Genuine, Verifier
from protocol import quick_record
from protocol.errors import PayloadError, RecordError
from protocol.payloads import RecordEvent
from protocol.quick_event import read_event
from protocol.record import FORMAT, RECORD_BYTES, Record, parse_record
from tools.bench.paper import HALL, HALL_KEY, PaperDevice
from tools.fuzz.target import Check, Target, golden, must

REASONS = {"length", "crc", "format", "value"}


def records() -> Check:
    """Any bytes, and the same with a CRC that fits: both readers say the same, field by field and reason by reason."""

    def check(data: bytes) -> None:
        _both(data)
        body = data[: RECORD_BYTES - 4].ljust(RECORD_BYTES - 4, b"\x00")
        for fitted in (body, bytes([FORMAT, 1]) + body[2:]):
            _both(fitted + zlib.crc32(fitted).to_bytes(4, "little"))

    return check


def _both(raw: bytes) -> None:
    quick, exact = _outcome(quick_record.quick_parse, raw), _outcome(parse_record, raw)
    must(quick == exact, f"quick says {quick}, exact {exact}")
    if isinstance(quick, Record) and isinstance(exact, Record):
        must(quick.pack() == raw, "a record does not pack to its own bytes")
        types = [[type(value) for value in vars(one).values()] for one in (quick, exact)]
        must(types[0] == types[1], "fields of different types")
        must((quick.rating is None) == (quick.kind.name != "RATING"), "something else than a rating has a level")
    else:
        must(quick in REASONS, f"an error of no known reason: {quick}")


def _outcome(parse: Callable[[bytes], Record], raw: bytes) -> Record | str:
    try:
        return parse(raw)
    except RecordError as error:
        return error.reason


def events() -> Check:
    """Any payload on a record topic: a verdict, the same one by the quick way; genuine only with the bytes that were signed."""
    device = PaperDevice("PJ-0001", "07")
    signed = set(device.write(5))
    verifier = Verifier({HALL: HALL_KEY})
    window, topic = device.window, device.topic

    def check(data: bytes) -> None:
        verdict = verifier.verdict(window, topic, data)
        examined = verifier._examine(window, topic, data)  # the two ways are compared
        must(verdict == examined, "the quick way and the examination say different things")
        if isinstance(verdict, Genuine):
            must(verdict.raw in signed and verdict.device == device.name, "a record that nobody signed is taken for genuine")
        elif isinstance(verdict, Evidence):
            must(len(verdict.payload) <= KEPT_BYTES, "evidence without bounds")
        try:
            model: RecordEvent | None = RecordEvent.from_json(data)
        except PayloadError as error:
            must(error.reason in ("json", "value"), f"an error of no known reason: {error.reason}")
            model = None
        quick = read_event(data)
        if quick is not None and model is not None:
            must((quick.device, quick.raw) == (model.data.device, model.data.raw()), "the quick reader reads something else")

    return check


def _event_seeds() -> list[bytes]:
    device = PaperDevice("PJ-0001", "07")
    return [device.payload(raw) for raw in device.write(5)]


TARGETS = (
    Target(
        "records",
        "both parsers of the signed record",
        records,
        lambda: [*golden("records", "record"), *golden("single_records", "record"), *golden("bad_records", "record")],
    ),
    Target("events", "the collector's verdict on a record event", events, _event_seeds),
)
