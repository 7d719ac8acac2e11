"""Chaos before any process runs: what is planned, and what the oracle makes of a collection."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from collector.ingest.core import Ingest, Message
from collector.store.tables import positions, records
from protocol.record import Kind, Record
from simulator.chaos.citizen import Press
from simulator.chaos.oracle import judge
from simulator.chaos.plan import KINDS, draw
from simulator.chaos.run import Outcome, Wish
from simulator.chaos.show import write_report
from simulator.compare import Findings, Seen, first_mismatch
from tests.chains import CASE, EPOCH_MS, EVALUATION, HALL_KEY, OTHER_KEY, PaperDevice
from tests.databases import Opened


def test_a_seed_breaks_the_same_things_every_kind_before_one_comes_again() -> None:
    plan = draw(Random(7), 300, 3, KINDS)
    assert plan == draw(Random(7), 300, 3, KINDS) != draw(Random(8), 300, 3, KINDS)
    assert {one.kind for one in plan} == set(KINDS)
    assert {one.window for one in plan} == {0, 1, 2}
    assert plan == sorted(plan, key=lambda one: one.at_s)


def test_nothing_is_broken_twice_at_a_time_nor_beyond_the_end() -> None:
    for seed in range(50):
        plan = draw(Random(seed), 40, 2, KINDS)
        until_s: dict[tuple[str, int], float] = {}
        for one in plan:
            assert one.at_s >= until_s.get(one.place, 0.0)
            until_s[one.place] = one.at_s + one.for_s
        assert max(until_s.values()) <= 40


def presses(*levels: int, unknown: tuple[int, ...] = ()) -> list[Press]:
    return [Press(float(at), level, "", is_thanked=at not in unknown) for at, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("pressed", "collected", "right"),
    [
        (presses(5, 3, 1), [5, 3, 1], True),
        (presses(5, 3, 1), [5, 1], False),
        (presses(5, 3, 1), [5, 1, 3], False),
        (presses(5, 3, 1), [5, 3, 3, 1], False),
        (presses(5, 3, 1), [5, 3, 2], False),
        (presses(5, 3, 1), [5, 3, 1, 1], False),
        (presses(5, 3, 1, unknown=(1,)), [5, 1], True),
        (presses(5, 3, 1, unknown=(1,)), [5, 3, 1], True),
        (presses(3, 3, 3, unknown=(0, 1)), [3, 3], True),
        (presses(3, 3, 3, unknown=(0, 1)), [], False),
        ([], [4], False),
    ],
)
def test_where_presses_and_collection_part(pressed: list[Press], collected: list[int], right: bool) -> None:
    seen = [Seen(press.at_s, press.level, press.is_thanked) for press in pressed]
    assert (first_mismatch(seen, collected) == "") is right


class Books:
    """Three presses of a device, the second for a case, all collected."""

    def __init__(self, store: Opened) -> None:
        self.store = store
        self.ingest = Ingest(store.writer, {"533103/dating": HALL_KEY})
        self.device = PaperDevice()
        start = self.device.write(Kind.BOOT)
        one, two = self.device.write(level=5), self.device.write(level=1, evaluation=EVALUATION, case=CASE)
        self.take(start)
        self.take(one)
        self.take(two, case=CASE)
        self.take(self.device.write(level=3))
        self.presses = presses(5, 1, 3)
        self.presses[1].case_no = CASE.case_no

    def take(self, record: Record, **more: Any) -> None:
        self.ingest.take([Message(*self.device.message(record, **more))], EPOCH_MS)

    def judge(self) -> Findings:
        device = SimpleNamespace(device=SimpleNamespace(name=self.device.device))
        citizen: Any = SimpleNamespace(post=device, presses=self.presses, thanked_for_nothing=0)
        return judge([citizen], self.store.reader)

    def spoil(self, statement: Any) -> None:
        with self.store.writer.begin() as connection:
            connection.execute(statement)


@pytest.fixture
def books(store: Opened) -> Books:
    return Books(store)


def test_what_is_whole_is_right(books: Books) -> None:
    assert books.judge() == Findings(presses=3, thanked=3, collected=3)


def test_a_row_that_is_gone_is_a_lost_press(books: Books) -> None:
    books.spoil(sa.delete(records).where(records.c.level == "very_dissatisfied"))
    found = books.judge()
    assert (found.lost, found.doubled, found.altered) == (1, 0, 0)
    assert any("press 2 of 3" in text and "rated 1, is not collected" in text for text in found.wrong)
    assert any("record 3 is not in the database" in text for text in found.wrong)


def test_another_level_is_altered(books: Books) -> None:
    books.spoil(sa.update(records).where(records.c.seq == 3).values(level="satisfied"))
    found = books.judge()
    assert (found.lost, found.doubled, found.altered) == (0, 0, 1)


def test_a_rating_beyond_the_presses_is_doubled(books: Books) -> None:
    books.presses.pop()
    assert books.judge().doubled == 1


@pytest.mark.parametrize("at", [0, 2])
def test_a_case_of_another_press_is_named(books: Books, at: int) -> None:
    books.presses[1].case_no = ""
    books.presses[at].case_no = CASE.case_no
    # an evaluation that is opened late may meet the next press, never one before it
    wrong = [text for text in books.judge().wrong if "which is not its own" in text]
    assert len(wrong) == (at == 2)


def test_a_case_that_nobody_opened_is_named(books: Books) -> None:
    books.presses[1].case_no = ""
    assert books.judge().altered == 1


def test_receipts_that_do_not_reach_the_end_are_named(books: Books) -> None:
    books.spoil(sa.update(positions).values(next_seq=3))
    assert books.judge().wrong == ["PJ-0001: 4 records, receipts say [3]"]


def test_evidence_and_strangers_are_named(books: Books) -> None:
    forger, stranger = PaperDevice(hall_key=OTHER_KEY), PaperDevice("PJ-0009")
    books.ingest.take([Message(*forger.message(forger.write())), Message(*stranger.message(stranger.write()))], EPOCH_MS)
    wrong = books.judge().wrong
    assert wrong[0] == "PJ-0009: there is no such device"
    assert wrong[1].startswith("evidence wrong_key at 533103/dating/07: PJ-0001/1")


def test_the_report_says_what_is_wrong_and_what_could_not_be_had(tmp_path: Path) -> None:
    outcome = Outcome(Findings(3, 3, 2, lost=1, wrong=["press <2> is gone"]))
    outcome.faults["agent killed"] = 7
    outcome.impossible["agent's disk full"] = "no right"
    write_report(tmp_path / "report.html", Wish(30, 5), outcome)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "press &lt;2&gt; is gone" in page
    assert '<b class="bad">1</b>丢失' in page
    assert "代理程序被杀" in page
    assert "no right" in page
    assert "--minutes 0.5 --seed 5 --broker nats" in page
