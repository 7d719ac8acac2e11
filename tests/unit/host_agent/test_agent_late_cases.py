"""Naming a case after its rating, at the agent: what is taken is durable, sent until the collection has it, and named once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_agent.instant import Instant
from host_agent.store.database import Writer
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox
from host_agent.uplink.late_cases import LateCases
from host_agent.uplink.repeated import AGAIN_EVERY_S, MOST_AT_ONCE
from protocol.levels import Level
from protocol.payloads import Case, LateCase, LateCaseKept
from protocol.record import Kind, RecordFlag
from tests.agent_bench import at
from tests.chains import EVALUATION, PaperDevice
from tests.paper_agent import Place

FREE = RecordFlag.FREE_STANDING
DEVICE = "PJ-0001"
BODY = {"case_no": "L-1", "applicant_ref": "a-1"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def path(seq: int, device: str = DEVICE) -> str:
    return f"/v1/free-ratings/{device}/{seq}/case"


def test_what_a_citizen_gave_unasked_is_listed_without_its_level_and_takes_a_case(place: Place) -> None:
    place.agent.record(Kind.RATING, None, Level.VERY_DISSATISFIED, flags=FREE)
    place.agent.record(Kind.EXTRA, None, flags=FREE)
    place.agent.record(Kind.RATING, None, flags=FREE | RecordFlag.REVISION)
    place.agent.record(Kind.RATING, None, flags=FREE)
    place.agent.record(Kind.RATING, place.open())
    listed = place.client.get("/v1/free-ratings").json()
    assert [(one["seq"], one["case"]) for one in listed] == [(4, None), (1, None)]
    assert "satisfied" not in str(listed)
    assert len(place.client.get("/v1/free-ratings?limit=1").json()) == 1
    answer = place.client.put(path(1), json=BODY)
    assert answer.status_code == 200
    assert answer.json()["case"]["case_no"] == "L-1"
    assert [one["case"] and one["case"]["case_no"] for one in place.client.get("/v1/free-ratings").json()] == [None, "L-1"]


def test_the_same_again_changes_nothing_and_another_is_refused(place: Place) -> None:
    place.agent.record(Kind.RATING, None, flags=FREE)
    assert [place.client.put(path(1), json=BODY).status_code for _ in range(3)] == [200] * 3
    answer = place.client.put(path(1), json={"case_no": "L-2"})
    assert (answer.status_code, answer.json()["error"]) == (409, "case_named")
    assert place.client.get("/v1/free-ratings").json()[0]["case"]["case_no"] == "L-1"


def test_a_rating_without_a_case_takes_one_and_one_with_a_case_does_not(place: Place) -> None:
    asked = place.client.post("/v1/evaluations", json={}).json()["id"]
    place.agent.record(Kind.RATING, asked)
    assert place.client.put(path(1), json=BODY).status_code == 200
    for kind in (Kind.EXPIRED, Kind.SIGN_IN):
        place.agent.record(kind, None)
    for seq, device in ((2, DEVICE), (3, DEVICE), (9, DEVICE), (1, "PJ-0002")):
        answer = place.client.put(path(seq, device), json=BODY)
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_rating")
    for wrong in ({}, {"case_no": ""}, {**BODY, "applicant_ref": "13800138000"}, {**BODY, "more": 1}):
        assert place.client.put(path(1), json=wrong).status_code == 422


class Line:
    """A store with free ratings, and what goes to the broker and comes back."""

    def __init__(self, folder: Path) -> None:
        self.writer = Writer(folder)
        self.device = PaperDevice()
        self.outbox = Outbox(self.writer)
        self.now = at(0)
        self.sent: list[LateCase] = []
        self.restart()

    def restart(self) -> None:
        self.store = LateCaseStore(self.writer)
        self.sender = LateCases(self.store)

    def rate(self, count: int = 1) -> None:
        written = [self.device.write(flags=FREE) for _ in range(count)]
        with self.writer.transaction() as connection:
            self.outbox.accept(connection, DEVICE, [(one, one.pack()) for one in written], 1)

    def name(self, seq: int) -> None:
        rating = self.store.rating(DEVICE, seq)
        assert rating is not None
        self.store.name(rating, Case(case_no=f"L-{seq}"), "017", 5)

    def step(self, seconds: float = 0.0) -> list[int]:
        """Let time pass; return which numbers went out."""
        self.now = Instant(self.now.mono_s + seconds, self.now.utc_ms)
        before = len(self.sent)
        self.sender.step(lambda payload: self.sent.append(LateCase.from_json(payload)), self.now)
        return [one.seq for one in self.sent[before:]]

    def answer(self, seq: int, *, is_first: bool = True, device: str = DEVICE) -> None:
        self.sender.received(LateCaseKept(device=device, seq=seq, is_first=is_first).to_json())


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.writer.close()


def test_it_is_sent_once_and_again_until_it_is_answered(line: Line) -> None:
    line.rate(2)
    assert line.step() == []
    line.name(1)
    assert line.step() == [1]
    assert line.step(1) == []
    (said,) = line.sent
    assert (said.record_mac, said.case.case_no, said.staff, said.named_at_ms) == (
        line.device.written[0].mac.hex(),
        "L-1",
        "017",
        5,
    )
    assert line.step(AGAIN_EVERY_S) == [1]
    line.answer(1)
    assert line.step(AGAIN_EVERY_S) == []
    line.name(2)
    assert line.step() == [2]


def test_after_a_lost_connection_or_a_restart_it_is_sent_again(line: Line) -> None:
    line.rate()
    line.name(1)
    line.step()
    line.sender.connected()
    assert line.step() == [1]
    line.restart()
    assert line.step() == [1]


def test_many_go_out_a_few_at_a_time_and_all_of_them(line: Line) -> None:
    count = 2 * MOST_AT_ONCE + 3
    line.rate(count)
    for seq in range(1, count + 1):
        line.name(seq)
    steps = [line.step() for _ in range(4)]
    assert [len(step) for step in steps] == [MOST_AT_ONCE, MOST_AT_ONCE, 3, 0]
    assert [seq for step in steps for seq in step] == list(range(1, count + 1))


def test_a_refusal_ends_it_and_is_told(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    line.rate()
    line.name(1)
    line.step()
    line.answer(1, is_first=False)
    assert line.step(AGAIN_EVERY_S) == []
    assert "补登另一办件" in caplog.text


def test_answers_to_nothing_and_words_that_are_none_change_nothing(line: Line) -> None:
    line.rate()
    line.name(1)
    line.answer(2)
    line.answer(1, device="PJ-0002")
    line.sender.received(b"{")
    assert line.step() == [1]


def test_it_is_kept_as_long_as_it_waits_or_its_rating_is_kept(line: Line) -> None:
    line.rate(3)
    for seq in (1, 2):
        line.name(seq)
    line.answer(1)
    line.store.purge()
    assert [one.case is not None for one in line.store.recent(9)] == [False, True, True]
    line.writer.connection.execute("DELETE FROM records")
    line.store.purge()
    assert [one.seq for one in line.store.waiting(0, 9)] == [2]
    assert line.writer.connection.execute("SELECT count(*) FROM late_cases").fetchone() == (1,)


def test_a_number_that_came_twice_takes_none(line: Line) -> None:
    line.rate()
    other = PaperDevice().write(flags=FREE, level=1)
    with line.writer.transaction() as connection:
        line.outbox.accept(connection, DEVICE, [(other, other.pack())], 1)
    assert line.store.rating(DEVICE, 1) is None


def test_an_evaluations_rating_with_a_case_takes_none(line: Line) -> None:
    bound = line.device.write(evaluation=EVALUATION, case=Case(case_no="C-1"))
    with line.writer.transaction() as connection:
        line.outbox.accept(connection, DEVICE, [(bound, bound.pack())], 1)
    assert line.store.rating(DEVICE, 1) is None
