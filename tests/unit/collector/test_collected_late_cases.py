"""A case that is named after its rating: it goes with that rating and no other, whichever of the two comes first."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import sqlalchemy as sa

from collector.ingest.core import Ingest, Message, Taken
from collector.store import ratings
from collector.store.tables import evidence, late_cases
from protocol.payloads import Case, LateCase, LateCaseKept
from protocol.record import Kind, Record, RecordFlag
from protocol.topics import Down, Up, Window
from tests.chains import CASE, EPOCH_MS, EVALUATION, HALL_KEY, WINDOW, PaperDevice
from tests.databases import Opened

LATE = Case(case_no="L-1", item_name="户口登记")
OTHER = Case(case_no="L-2")
FREE = RecordFlag.FREE_STANDING


class Bench:
    def __init__(self, store: Opened) -> None:
        self.engine = store.writer
        self.ingest = Ingest(self.engine, {"533103/dating": HALL_KEY})
        self.device = PaperDevice()

    def take(self, *messages: Message) -> Taken:
        return self.ingest.take(messages, EPOCH_MS + 1)

    def record(self, record: Record, **more: Any) -> Message:
        return Message(*self.device.message(record, **more))

    def cases(self) -> dict[int, str | None]:
        """Which case goes with which record, as a report would say."""
        with self.engine.connect() as connection:
            found = ratings.entries(connection, 0, 100, ratings.SHOWN_KINDS)
        assert all(entry["case_is_late"] for entry in found if entry["case"] and entry["case"]["case_no"].startswith("L"))
        return {entry["seq"]: entry["case"]["case_no"] if entry["case"] else None for entry in found}

    def evidence(self) -> list[tuple[str, int | None]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(evidence.c.kind, evidence.c.seq))]


@pytest.fixture
def bench(store: Opened) -> Bench:
    return Bench(store)


def named(
    record: Record, case: Case = LATE, window: Window = WINDOW, mac: bytes | None = None, device: str = "PJ-0001"
) -> Message:
    said = LateCase(device=device, seq=record.seq, record_mac=(mac or record.mac).hex(), case=case, staff="017", named_at_ms=1)
    return Message(window.up(Up.CASE), said.to_json())


def answers(taken: Taken) -> list[tuple[int, bool]]:
    words = [LateCaseKept.from_json(one.payload) for one in taken.publish if one.topic == WINDOW.down(Down.CASE)]
    return [(word.seq, word.is_first) for word in words]


def test_whichever_comes_first_they_go_together(bench: Bench) -> None:
    first, second = bench.device.write(flags=FREE), bench.device.write(flags=FREE)
    assert answers(bench.take(named(first), bench.record(first))) == [(1, True)]
    bench.take(bench.record(second))
    assert bench.cases() == {1: "L-1", 2: None}
    assert answers(bench.take(named(second, OTHER))) == [(2, True)]
    assert bench.cases() == {1: "L-1", 2: "L-2"}
    assert bench.evidence() == []


def test_one_that_comes_again_is_answered_again_and_changes_nothing(bench: Bench) -> None:
    record = bench.device.write(flags=FREE)
    for _ in range(3):
        assert answers(bench.take(bench.record(record), named(record), named(record))) == [(1, True)] * 2
    assert bench.cases() == {1: "L-1"}
    assert bench.evidence() == []


def test_the_first_counts_and_another_one_is_evidence(bench: Bench) -> None:
    record = bench.device.write(flags=FREE)
    bench.take(bench.record(record), named(record))
    for _ in range(2):
        assert answers(bench.take(named(record, OTHER))) == [(1, False)]
    assert bench.cases() == {1: "L-1"}
    assert bench.evidence() == [("late_case", 1)]


def test_it_goes_with_a_change_of_mind_in_any_order(bench: Bench) -> None:
    first = bench.device.write(flags=FREE, level=1)
    second = bench.device.write(flags=FREE | RecordFlag.REVISION, level=3, refers_to=1)
    third = bench.device.write(flags=FREE | RecordFlag.REVISION, level=5, refers_to=2)
    messages = [bench.record(first), bench.record(second), bench.record(third), named(first)]
    for order in permutations(messages):
        with bench.engine.begin() as connection:
            for table in ("records", "late_cases", "positions"):
                connection.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608  # three words of ours
        for message in order:
            bench.take(message)
        assert bench.cases() == {1: "L-1", 2: "L-1", 3: "L-1"}


def test_it_goes_with_a_rating_that_was_asked_for_without_a_case(bench: Bench) -> None:
    record = bench.device.write(evaluation=EVALUATION)
    bench.take(bench.record(record), named(record))
    assert bench.cases() == {1: "L-1"}


def test_a_rating_that_is_bound_to_its_case_keeps_it(bench: Bench) -> None:
    with_case = bench.device.write(evaluation=EVALUATION, case=CASE)
    withheld = bench.device.write(evaluation=bytes(reversed(EVALUATION)), case=CASE)
    bench.take(bench.record(with_case, case=CASE), bench.record(withheld))  # the second one's agent has lost its case
    bench.take(named(with_case), named(withheld))
    assert bench.cases() == {1: CASE.case_no, 2: None}


@pytest.mark.parametrize("kind", [Kind.EXTRA, Kind.EXPIRED, Kind.CANCELLED])
def test_only_a_rating_has_one(bench: Bench, kind: Kind) -> None:
    record = bench.device.write(kind)
    bench.take(bench.record(record), named(record))
    assert bench.cases() == {1: None}


def test_another_window_or_another_record_of_that_number_has_no_part_in_it(bench: Bench) -> None:
    first, second = bench.device.write(flags=FREE), bench.device.write(flags=FREE)
    elsewhere = Window(WINDOW.area, WINDOW.hall, "08")
    bench.take(bench.record(first), bench.record(second))
    bench.take(named(first, window=elsewhere), named(second, mac=bytes(16)))
    assert bench.cases() == {1: None, 2: None}
    bench.take(named(first))  # its own window may still say so
    assert bench.cases() == {1: "L-1", 2: None}
    assert bench.evidence() == []


def test_a_hall_without_a_key_and_what_is_no_late_case_are_evidence(bench: Bench) -> None:
    record = bench.device.write(flags=FREE)
    taken = bench.take(
        named(record, window=Window("533103", "elsewhere", "07")),
        Message(WINDOW.up(Up.CASE), b"{"),
        Message(WINDOW.up(Up.CASE), b'{"device": "PJ-0001"}'),
    )
    assert taken.publish == []
    assert sorted(kind for kind, _ in bench.evidence()) == ["malformed", "malformed", "unknown_hall"]
    with bench.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(late_cases)).scalar() == 0


def test_it_is_durable_before_it_is_answered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = bench.device.write(flags=FREE)

    def fails(*_arguments: object) -> None:
        raise sa.exc.OperationalError("", {}, Exception("disk full"))

    monkeypatch.setattr("collector.ingest.core.take_state", fails)
    state = b'{"session":"' + b"0" * 32 + b'","online":true,"since_ms":1,"agent":"1"}'
    with pytest.raises(sa.exc.OperationalError):
        bench.take(bench.record(record), named(record), Message(WINDOW.up(Up.STATE), state))
    assert bench.cases() == {}
    monkeypatch.undo()
    assert answers(bench.take(bench.record(record), named(record))) == [(1, True)]
