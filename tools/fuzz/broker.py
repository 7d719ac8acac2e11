"""MQTT, as collector and agent hear it: any topics and payloads, among genuine records that must all be stored."""

from __future__ import annotations

import sqlalchemy as sa

from collector.ingest.core import Ingest, Message
from collector.store.database import memory_database
from collector.store.tables import absences, evidence, records, windows
from protocol.payloads import Absence, Case, DeviceState, Health, LateCase, State
from protocol.topics import Down, Up
from tools.bench.paper import HALL, HALL_KEY, PaperDevice
from tools.fuzz.target import Check, Target, must, step, steps

_NOW_MS = 1_780_000_000_000
_MESSAGES = 12
_RUNS_PER_STORE = 200
"""A store is begun anew after so many inputs, or it would only grow."""
_MOST_TEXT_BYTES = 8192
_TEXTS = [
    (table, [column.name for column in table.columns if isinstance(column.type, sa.String)])
    for table in (records, evidence, windows, absences)
]
_USUAL = (Up.RECORD, Up.STATE, Up.HEALTH, Up.CASE, Up.ABSENCE)
"""In the order in which the inputs that are kept number them; new ones go behind."""


class _Collector:
    """A collector in memory that counts its inputs."""

    def __init__(self) -> None:
        self.runs = 0
        self.engine = memory_database()
        self.ingest = Ingest(self.engine, {HALL: HALL_KEY})


def ingest() -> Check:
    """Any messages among genuine ones: nothing raises, all genuine and only signed records are stored, texts are bounded."""
    known = PaperDevice("PJ-0001", "07")
    signed = set(known.write(5))
    held = [_Collector()]

    def check(data: bytes) -> None:
        collector = held[0]
        collector.runs += 1
        if collector.runs > _RUNS_PER_STORE:
            collector.engine.dispose()
            held[0] = collector = _Collector()
        mine = PaperDevice(f"F-{collector.runs}", "08")
        genuine = mine.write(3)
        messages = [_message(what, body) for what, body in steps(data)][:_MESSAGES]
        for at, raw in enumerate(genuine):
            messages.insert(at * (len(messages) + 1) // 3, Message(mine.topic, mine.payload(raw)))
        taken = collector.ingest.take(messages, _NOW_MS)
        judged = sum(count for name, count in taken.counts.items() if name not in ("received", "receipts"))
        must(judged >= len(messages) == taken.counts["received"], f"{len(messages)} messages, counted {dict(taken.counts)}")
        with collector.engine.connect() as connection:
            stored = connection.execute(sa.select(records.c.device, records.c.raw)).all()
            texts = [value for table, names in _TEXTS for value in _values(connection, table, names)]
        must({raw for device, raw in stored if device == mine.name} == set(genuine), "a genuine record is not stored")
        others = {bytes(raw) for device, raw in stored if device == known.name}
        must(others <= signed, "a record that nobody signed is stored")
        for text in texts:
            must("\x00" not in text, f"a text that PostgreSQL cannot hold: {text!r}")
            must(len(text.encode("utf-8")) <= _MOST_TEXT_BYTES, f"a text of {len(text)} characters is stored")

    return check


def _values(connection: sa.Connection, table: sa.Table, names: list[str]) -> list[str]:
    rows = connection.execute(sa.select(*[table.c[name] for name in names]))
    return [value for row in rows for value in row if isinstance(value, str)]


def _message(what: int, body: bytes) -> Message:
    """Topic to the first newline, then the payload; odd steps use the usual topics."""
    window = PaperDevice("PJ-0001", "07").window
    if what & 1:
        return Message(window.up(_USUAL[what // 2 % len(_USUAL)]), body)
    topic, _, payload = body.partition(b"\n")
    return Message(topic.decode("utf-8", "replace"), payload)


def _said(what: Up, body: bytes) -> bytes:
    """Return the step that says something on a usual topic."""
    return step(2 * _USUAL.index(what) + 1, body)


def _seeds() -> list[bytes]:
    device = PaperDevice("PJ-0001", "07")
    state = State(
        session="a" * 32,
        online=True,
        since_ms=_NOW_MS,
        agent="1.0",
        device=DeviceState(device="PJ-0001", firmware="1.0", boot=1, release_on_ack=False),
    )
    health = Health(session="a" * 32, at_ms=_NOW_MS, outbox_to_send=0, outbox_sent=1)
    payloads = [device.payload(raw) for raw in device.write(5)]
    talk = _said(Up.STATE, state.to_json()) + _said(Up.HEALTH, health.to_json())
    absence = Absence(id="b" * 32, what="device", reason="silent", staff="017", begin_ms=_NOW_MS, measured=False, times=1)
    late = LateCase(device="PJ-0001", seq=1, record_mac="c" * 32, case=Case(case_no="L-1"), named_at_ms=_NOW_MS)
    odd = state.to_json().replace(b'"1.0"', b'"1\\u0000\\n\\ud83d\\ude00"')
    elsewhere = step(0, b"hcp/v1/533103/other/01/up/record\n" + payloads[0])
    down = step(0, device.window.down(Down.RECEIPT).encode() + b"\n{}")
    altered = payloads[1].replace(b'"level":"', b'"level":"very_')
    truncated = payloads[2].replace(b'","received_at_ms"', b'=","received_at_ms"')
    return [
        b"".join(step(1, one) for one in payloads) + talk,
        elsewhere + down + step(1, altered),
        step(1, truncated),
        talk + talk,
        _said(Up.STATE, odd) + _said(Up.HEALTH, odd),
        _said(Up.ABSENCE, absence.to_json()) + _said(Up.ABSENCE, absence.to_json().replace(b"017", b"\\u0000")),
        _said(Up.CASE, late.to_json()),
    ]


TARGETS = (Target("mqtt", "the collector's ingest", ingest, _seeds),)
