"""Absences at the collection: stored once, in any order and however often they are told, and what contradicts them is kept."""

from __future__ import annotations

from itertools import permutations

import pytest
import sqlalchemy as sa

from collector.ingest.core import Ingest, Message, Taken
from collector.store.tables import absences, evidence
from protocol.payloads import Absence, AbsenceKept
from protocol.topics import Down, Up, Window
from tests.chains import EPOCH_MS, HALL_KEY, WINDOW
from tests.databases import Opened

BEGUN = Absence(
    id="ab" * 16,
    what="device",
    reason="unplugged",
    device="PJ-0001",
    staff="017",
    begin_ms=EPOCH_MS,
    measured=False,
    times=1,
)
OVER = BEGUN.model_copy(update={"end_ms": EPOCH_MS + 60_000, "lasted_ms": 60_000, "measured": True, "times": 3})


class Bench:
    def __init__(self, store: Opened) -> None:
        self.engine = store.writer
        self.ingest = Ingest(self.engine, {"533103/dating": HALL_KEY})

    def take(self, *said: Absence, window: Window = WINDOW) -> list[AbsenceKept]:
        return self.answers(self.ingest.take([Message(window.up(Up.ABSENCE), one.to_json()) for one in said], EPOCH_MS + 5))

    def answers(self, taken: Taken) -> list[AbsenceKept]:
        return [AbsenceKept.from_json(one.payload) for one in taken.publish if one.topic == WINDOW.down(Down.ABSENCE)]

    def rows(self) -> list[tuple[object, ...]]:
        columns = (absences.c.window, absences.c.end_ms, absences.c.lasted_ms, absences.c.times)
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(absences.c.window))]

    def evidence(self) -> list[str]:
        with self.engine.connect() as connection:
            return [row[0] for row in connection.execute(sa.select(evidence.c.kind))]


@pytest.fixture
def bench(store: Opened) -> Bench:
    return Bench(store)


def test_in_whatever_order_and_however_often_it_is_stored_once_with_its_end(bench: Bench) -> None:
    for order in permutations([BEGUN, OVER, BEGUN, OVER]):
        with bench.engine.begin() as connection:
            connection.execute(sa.delete(absences))
        assert all(answer.is_first for one in order for answer in bench.take(one))
        assert bench.rows() == [("07", EPOCH_MS + 60_000, 60_000, 3)]
    assert bench.evidence() == []


def test_the_answer_says_whether_the_end_is_stored(bench: Bench) -> None:
    assert [one.is_over for one in bench.take(BEGUN, OVER, BEGUN)] == [False, True, True]


@pytest.mark.parametrize(
    "other",
    [
        OVER.model_copy(update={"end_ms": EPOCH_MS + 1, "lasted_ms": 1}),
        OVER.model_copy(update={"lasted_ms": 59_999}),
        OVER.model_copy(update={"reason": "silent"}),
        BEGUN.model_copy(update={"begin_ms": EPOCH_MS + 1}),
        BEGUN.model_copy(update={"staff": None}),
    ],
)
def test_what_was_said_first_counts_and_what_contradicts_it_is_evidence(bench: Bench, other: Absence) -> None:
    bench.take(OVER)
    for _ in range(2):
        assert [one.is_first for one in bench.take(other)] == [False]
    assert bench.rows() == [("07", EPOCH_MS + 60_000, 60_000, 3)]
    assert bench.evidence() == ["absence"]


def test_one_window_says_nothing_of_another(bench: Bench) -> None:
    bench.take(BEGUN)
    bench.take(OVER, window=Window(WINDOW.area, WINDOW.hall, "08"))
    assert bench.rows() == [("07", None, None, 1), ("08", EPOCH_MS + 60_000, 60_000, 3)]


def test_a_hall_without_a_key_and_what_is_no_absence_are_evidence(bench: Bench) -> None:
    bench.take(BEGUN, window=Window("533103", "elsewhere", "07"))
    nobody = BEGUN.model_copy(update={"device": None})
    bench.take(nobody, window=Window("533103", "elsewhere", "07"))
    bench.ingest.take([Message(WINDOW.up(Up.ABSENCE), b'{"id": 1}')], EPOCH_MS)
    assert sorted(bench.evidence()) == ["malformed", "unknown_hall", "unknown_hall"]
    assert bench.rows() == []


def test_words_with_zeros_and_the_largest_numbers_are_borne(bench: Bench) -> None:
    most = (1 << 63) - 1
    strange = BEGUN.model_copy(update={"staff": "0\x007", "begin_ms": most, "end_ms": most, "lasted_ms": most})
    assert [one.is_first for one in bench.take(strange, strange)] == [True, True]
