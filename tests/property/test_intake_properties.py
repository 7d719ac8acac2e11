"""Any order, any repetition, any cutting into batches, either database: the same table and receipts, no receipt too far."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.ingest.core import Ingest, Message
from collector.ingest.links import Span, missing
from collector.store import condition
from collector.store.database import memory_database
from collector.store.postgresql import PostgresDatabase
from collector.store.tables import evidence, positions, records, windows
from protocol.payloads import ReceiptPayload, State
from protocol.record import SEQ_SPAN, Kind, Record, RecordFlag
from protocol.topics import Up
from tests.chains import EPOCH_MS, HALL_KEY, OTHER_KEY, WINDOW, PaperDevice

ENGINE = memory_database()
DERIVED = [column for column in records.c if column.name not in ("arrival", "received_ms")]
_P = positions.c


@st.composite
def chains(draw: st.DrawFn) -> tuple[PaperDevice, list[Record]]:
    """A device's life: presses, changes of mind, losses that it declares, new journals; and what of it still exists."""
    device = PaperDevice()
    gone: set[int] = set()
    for what in draw(
        st.lists(st.sampled_from(["press", "press", "press", "change", "lose", "begin"]), min_size=1, max_size=14)
    ):
        if what == "press" or not device.written:
            device.write(level=draw(st.integers(1, 5)))
        elif what == "change" and device.written[-1].kind is Kind.RATING and device.next_seq % SEQ_SPAN > 1:
            device.write(level=draw(st.integers(1, 5)), flags=RecordFlag.REVISION, refers_to=device.written[-1].seq)
        elif what == "lose":
            first = draw(st.integers(max(1, device.next_seq - 6), max(1, device.next_seq - 2)))
            first = max(first, (device.next_seq - 1) // SEQ_SPAN * SEQ_SPAN + 1)
            count = draw(st.integers(1, 3))
            count = min(count, device.next_seq - 1 - first)
            if count > 0:
                gone.update(range(first, first + count))
                device.write(Kind.LOST, refers_to=first, value=count)
        elif what == "begin":
            device.new_journal()
            device.write(Kind.BOOT)
    kept = [record for record in device.written if record.seq not in gone or draw(st.booleans())]
    return device, kept


def fresh(engine: sa.Engine = ENGINE) -> Ingest:
    with engine.begin() as connection:
        for table in (records, evidence, positions, windows):
            connection.execute(sa.delete(table))
    return Ingest(engine, {"533103/dating": HALL_KEY})


def tables() -> tuple[list[Any], list[Any], list[Any]]:
    with ENGINE.connect() as connection:
        return (
            list(connection.execute(sa.select(*DERIVED).order_by(records.c.device, records.c.seq))),
            list(connection.execute(sa.select(_P.device, _P.journal, _P.next_seq, _P.mac).order_by(_P.device, _P.journal))),
            list(connection.execute(sa.select(evidence.c.fingerprint).order_by(evidence.c.fingerprint))),
        )


def stored_and_lost() -> tuple[set[int], list[Span]]:
    with ENGINE.connect() as connection:
        rows = connection.execute(sa.select(records.c.seq, records.c.kind, records.c.refers_to, records.c.value)).all()
    return {row[0] for row in rows}, [(row[2], row[2] + row[3] - 1) for row in rows if row[1] == "lost"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(life=chains(), data=st.data())
def test_order_repetition_and_batches_change_nothing(life: tuple[PaperDevice, list[Record]], data: st.DataObject) -> None:
    device, kept = life
    ingest = fresh()
    ingest.take([Message(*device.message(record)) for record in kept], EPOCH_MS)
    expected = tables()

    repeated = data.draw(st.lists(st.sampled_from(kept), max_size=8)) if kept else []
    shuffled = data.draw(st.permutations([*kept, *repeated]))
    ingest = fresh()
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        batch, shuffled = shuffled[:size], shuffled[size:]
        taken = ingest.take([Message(*device.message(record)) for record in batch], EPOCH_MS)
        here, lost = stored_and_lost()
        for message in taken.publish:
            receipt = ReceiptPayload.from_json(message.payload)
            floor = (receipt.next_seq - 2) // SEQ_SPAN * SEQ_SPAN + 1
            uncovered = [
                number for number in range(floor, receipt.next_seq) if number not in here and missing(number, number, lost)
            ]
            assert uncovered == [], f"a receipt for everything before {receipt.next_seq} covers what is not stored"
            assert receipt.next_seq - 1 in here
    assert tables() == expected


def everything(engine: sa.Engine) -> dict[str, list[Any]]:
    """Every row of every table, and the numbers that people see; evidence by its order, not by its number."""
    found: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        for table in (records, evidence, positions, windows):
            columns = [column for column in table.c if column is not evidence.c.id]
            rows = connection.execute(sa.select(*columns).order_by(*table.primary_key.columns)).mappings()
            found[table.name] = [
                {name: bytes(v) if isinstance(v, memoryview) else v for name, v in row.items()} for row in rows
            ]
        found["summary"] = [condition.summary(connection)]
    return found


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(life=chains(), data=st.data())
def test_sqlite_and_postgresql_hold_the_same_to_the_byte(
    postgresql: PostgresDatabase, life: tuple[PaperDevice, list[Record]], data: st.DataObject
) -> None:
    device, kept = life
    forger = PaperDevice(hall_key=OTHER_KEY)
    pool = [Message(*device.message(record)) for record in [*kept, *kept[:3]]]
    pool += [Message(*forger.message(record)) for record in forger.write_many(2)]
    for word in ["a zero \x00 in it", *data.draw(st.lists(words, max_size=2))]:
        state = State(session="0" * 32, online=True, since_ms=data.draw(st.integers(0, (1 << 63) - 1)), agent=word)
        pool += [Message(WINDOW.up(Up.STATE), state.to_json()), Message(f"hcp/v1/{word}", b"{}")]
        pool.append(Message(WINDOW.up(Up.RECORD), json.dumps({word: word}).encode()))
    shuffled = data.draw(st.permutations(pool))
    ours, theirs = fresh(), fresh(postgresql.writer)
    at_ms = EPOCH_MS
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        batch, shuffled = shuffled[:size], shuffled[size:]
        at_ms += 1
        assert ours.take(batch, at_ms) == theirs.take(batch, at_ms)
    assert everything(ENGINE) == everything(postgresql.reader)
