"""The window's business: every way in which an evaluation can go, and who is told what."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

from host_agent.desk import Desk
from host_agent.errors import RequestError
from host_agent.evaluations import Evaluation, EvaluationState
from host_agent.instant import Instant
from host_agent.link.events import Answered
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from protocol.messages import Cancel, Condition, ErrorCode, Language, Message, Open, Pause, PauseReason, Resume, SignIn, SignOut
from protocol.payloads import Case
from protocol.record import Kind
from protocol.signing import context_digest
from tests.agent_bench import at, status
from tests.chains import CASE, PaperDevice

T = TypeVar("T")
NOW = at(0)
OTHER_CASE = Case(case_no="other")


class PaperAttachment:
    """A link that keeps what it was asked."""

    def __init__(self) -> None:
        self.is_talking = True
        self.trouble: str | None = None
        self.asked: list[Message] = []
        self.withdrawn: list[int] = []

    def withdraw(self, number: int) -> None:
        self.withdrawn.append(number)

    def request(self, message: Message, _now: Instant) -> int:
        self.asked.append(message)
        return len(self.asked)


class Counter:
    """A desk with everything around it; `answer` answers what was asked last."""

    def __init__(self, folder: Path) -> None:
        self.writer = Writer(folder)
        self.store = EvaluationStore(self.writer)
        self.attachment = PaperAttachment()
        self.restart()

    def restart(self) -> None:
        self.desk = Desk(self.attachment, self.store, LateCaseStore(self.writer), os.urandom)  # type: ignore[arg-type]  # the part of it that a desk uses

    def staff(self) -> str | None:
        return self.desk.staff

    def paused(self) -> PauseReason | None:
        return self.desk.paused

    def answer(self, error: ErrorCode | None = None, *, gave_up: bool = False, number: int | None = None) -> None:
        self.desk.answered(Answered(number or len(self.attachment.asked), error, gave_up), NOW)

    def open(self, key: str | None = None, case: Case = CASE, staff: str | None = None) -> Future[Evaluation]:
        return self.desk.open(case, 60_000, Language.DAI, key, staff, NOW)

    def opened(self) -> Evaluation:
        future = self.open()
        self.answer()
        return now(future)

    def record(self, kind: Kind, evaluation: str) -> list[Evaluation]:
        record = PaperDevice().write(kind, evaluation=bytes.fromhex(evaluation))
        with self.writer.transaction() as connection:
            changed = self.desk.recorded(connection, [record], at(5))
        self.desk.announce(changed)
        return changed

    def state(self, evaluation: Evaluation) -> str:
        return self.desk.get(evaluation.id).state.value


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    made = Counter(tmp_path)
    yield made
    made.writer.close()


def now(future: Future[T]) -> T:
    return future.result(timeout=0)


def refusal(future: Future[T]) -> RequestError:
    error = future.exception(timeout=0)
    assert isinstance(error, RequestError)
    return error


def test_the_device_is_asked_with_what_binds_the_case(counter: Counter) -> None:
    future = counter.open()
    (message,) = counter.attachment.asked
    assert isinstance(message, Open)
    assert message.context_digest == context_digest(message.evaluation, CASE.fields())
    assert (message.timeout_ms, message.language) == (60_000, Language.DAI)
    assert not future.done()
    counter.answer()
    assert now(future).state is EvaluationState.OPENED
    assert now(future).id == message.evaluation.hex()


@pytest.mark.parametrize(("kind", "state"), [(Kind.RATING, "rated"), (Kind.EXPIRED, "expired"), (Kind.CANCELLED, "cancelled")])
def test_who_waits_hears_how_it_ended(counter: Counter, kind: Kind, state: str) -> None:
    evaluation = counter.opened()
    waiting = counter.desk.wait(evaluation.id)
    assert not waiting.done()
    counter.record(kind, evaluation.id)
    assert now(waiting).state.value == state
    assert now(counter.desk.wait(evaluation.id)).state.value == state
    counter.restart()
    assert counter.state(evaluation) == state


def test_a_record_that_comes_before_the_answer_wins(counter: Counter) -> None:
    future = counter.open()
    message = counter.attachment.asked[0]
    assert isinstance(message, Open)
    counter.record(Kind.RATING, message.evaluation.hex())
    counter.answer()
    assert now(future).state is EvaluationState.RATED


@pytest.mark.parametrize(
    ("error", "http", "word"),
    [
        (ErrorCode.JOURNAL_FULL, 409, "journal_full"),
        (ErrorCode.JOURNAL_FAULT, 409, "journal_fault"),
        (ErrorCode.VALUE, 409, "value"),
        (None, 504, "no_answer"),
    ],
)
def test_a_device_that_does_not_open_it_is_an_error_with_a_word(
    counter: Counter, error: ErrorCode | None, http: int, word: str
) -> None:
    future = counter.open(key="k")
    counter.answer(error, gave_up=error is None)
    assert (refusal(future).status, refusal(future).code) == (http, word)
    known = now(counter.open(key="k"))
    assert (known.state, known.reason) == (EvaluationState.ERROR, word)
    # it had opened all the same, and the citizen pressed
    counter.record(Kind.RATING, known.id)
    assert counter.state(known) == "rated"


def test_a_key_stands_for_one_evaluation(counter: Counter) -> None:
    first = counter.open(key="k")
    assert now(counter.open(key="k")).state is EvaluationState.OPENING
    counter.answer()
    again = now(counter.open(key="k"))
    assert again == now(first)
    assert len(counter.attachment.asked) == 1
    with pytest.raises(RequestError, match="another case") as caught:
        counter.open(key="k", case=OTHER_CASE)
    assert (caught.value.status, caught.value.code) == (409, "key_reused")
    counter.attachment.is_talking = False
    assert now(counter.open(key="k")).id == again.id  # also without a device


def test_a_second_evaluation_supersedes_the_first_when_the_record_says_so(counter: Counter) -> None:
    first = counter.opened()
    second = counter.opened()
    assert counter.state(first) == "opened"
    counter.record(Kind.CANCELLED, first.id)
    assert (counter.state(first), counter.state(second)) == ("cancelled", "opened")


def test_who_is_named_is_signed_in_before_the_opening(counter: Counter) -> None:
    future = counter.open(staff="017")
    assert [type(message) for message in counter.attachment.asked] == [SignIn, Open]  # nobody else comes in between
    counter.answer(number=1)
    assert not future.done()
    counter.answer(number=2)
    assert now(future).staff == counter.staff() == "017"
    assert now_open(counter, staff="017").staff == "017"
    assert [type(message) for message in counter.attachment.asked] == [SignIn, Open, Open]


def now_open(counter: Counter, staff: str) -> Evaluation:
    future = counter.open(staff=staff)
    counter.answer()
    return now(future)


def test_nothing_is_opened_under_the_wrong_name(counter: Counter) -> None:
    future = counter.open(staff="017")
    counter.answer(ErrorCode.JOURNAL_FULL, number=1)
    assert refusal(future).code == "journal_full"
    assert counter.attachment.withdrawn == [2]
    counter.answer(ErrorCode.JOURNAL_FULL, number=2)  # changes nothing any more
    assert not counter.staff()


def test_a_device_that_goes_away_during_a_signing_in_fails_the_opening_once(counter: Counter) -> None:
    future = counter.open(staff="017")
    counter.desk.disconnected(NOW)
    assert refusal(future).status == 504
    counter.answer(number=2)
    assert not counter.staff()


def test_without_a_device_there_is_a_sentence(counter: Counter) -> None:
    evaluation = counter.opened()
    counter.attachment.is_talking = False
    for ask in (
        counter.open,
        lambda: counter.desk.sign_in("017", NOW),
        lambda: counter.desk.cancel(evaluation.id, NOW),
    ):
        with pytest.raises(RequestError, match="no device at this window: 正在连接 connecting") as caught:
            ask()
        assert (caught.value.status, caught.value.code) == (503, "no_device")
    counter.attachment.trouble = "COM7 不存在"
    with pytest.raises(RequestError, match="COM7"):
        counter.open()


def test_cancelled_is_what_the_record_says(counter: Counter) -> None:
    evaluation = counter.opened()
    future = counter.desk.cancel(evaluation.id, NOW)
    message = counter.attachment.asked[-1]
    assert isinstance(message, Cancel)
    counter.answer()
    assert not future.done()
    counter.record(Kind.RATING, evaluation.id)  # the press was a moment earlier
    assert now(future).state is EvaluationState.RATED
    assert now(counter.desk.cancel(evaluation.id, NOW)).state is EvaluationState.RATED


def test_a_cancel_whose_record_comes_first_is_answered_at_once(counter: Counter) -> None:
    evaluation = counter.opened()
    future = counter.desk.cancel(evaluation.id, NOW)
    counter.record(Kind.CANCELLED, evaluation.id)
    counter.answer()
    assert now(future).state is EvaluationState.CANCELLED


def test_a_cancel_that_the_device_refuses_is_refused(counter: Counter) -> None:
    evaluation = counter.opened()
    future = counter.desk.cancel(evaluation.id, NOW)
    counter.answer(ErrorCode.EVALUATION)
    assert refusal(future).code == "evaluation"
    assert counter.state(evaluation) == "opened"


def test_an_unknown_evaluation_is_404(counter: Counter) -> None:
    for ask in (counter.desk.get, counter.desk.wait, lambda one: counter.desk.cancel(one, NOW)):
        with pytest.raises(RequestError) as caught:
            ask("f" * 32)
        assert caught.value.status == 404


def test_a_waiter_who_goes_is_dropped(counter: Counter) -> None:
    evaluation = counter.opened()
    stays, goes, unknown = counter.desk.wait(evaluation.id), counter.desk.wait(evaluation.id), Future[Evaluation]()
    counter.desk.no_longer_waits(evaluation.id, goes)
    counter.desk.no_longer_waits(evaluation.id, unknown)
    cancelled = counter.desk.wait(evaluation.id)
    cancelled.cancel()
    counter.record(Kind.EXPIRED, evaluation.id)
    assert now(stays).state is EvaluationState.EXPIRED
    assert not goes.done()
    alone = counter.opened()
    waiting = counter.desk.wait(alone.id)
    counter.desk.no_longer_waits(alone.id, waiting)
    counter.desk.no_longer_waits(alone.id, waiting)
    assert counter.desk._waiters == {}


def test_an_evaluation_that_the_device_does_not_know_any_more_is_lost_once_all_records_are_here(counter: Counter) -> None:
    evaluation = counter.opened()
    opening = counter.open()
    counter.desk.reported(status(next_seq=9), 8, NOW)  # a record that may end it is still on its way
    assert counter.state(evaluation) == "opened"
    counter.desk.reported(status(next_seq=9, evaluation=bytes.fromhex(evaluation.id)), 9, NOW)
    assert counter.state(evaluation) == "opened"
    waiting = counter.desk.wait(evaluation.id)
    counter.desk.reported(status(next_seq=9), 9, NOW)
    assert now(waiting).state is EvaluationState.DEVICE_LOST
    assert not opening.done()  # its opening is not answered yet: nothing to conclude
    # another PC had it meanwhile, and now it is here again with its records
    counter.record(Kind.RATING, evaluation.id)
    assert counter.state(evaluation) == "rated"


def test_after_a_restart_the_device_says_what_became_of_evaluations(counter: Counter) -> None:
    known, gone = counter.opened(), counter.opened()
    counter.open()
    message = counter.attachment.asked[-1]
    assert isinstance(message, Open)
    counter.restart()
    counter.desk.connected("PJ-0001", NOW)
    counter.desk.reported(status(evaluation=bytes.fromhex(known.id)), 1, NOW)
    assert counter.state(known) == "opened"
    assert counter.state(gone) == "device_lost"
    assert counter.desk.get(message.evaluation.hex()).state is EvaluationState.DEVICE_LOST


def test_records_of_no_evaluation_or_of_another_agents_change_nothing(counter: Counter) -> None:
    assert counter.record(Kind.RATING, "0" * 32) == []
    assert counter.record(Kind.RATING, "ab" * 16) == []
    evaluation = counter.opened()
    assert counter.record(Kind.EXTRA, evaluation.id) == []


def test_staff_and_pause_are_as_the_device_answered(counter: Counter) -> None:
    future = counter.desk.sign_in("017", NOW)
    assert not counter.staff()
    counter.answer()
    now(future)
    assert counter.staff() == "017"
    future = counter.desk.pause(PauseReason.BREAK, NOW)
    counter.answer()
    assert counter.paused() == PauseReason.BREAK
    refused = counter.desk.resume(NOW)
    counter.answer(gave_up=True)
    assert refusal(refused).status == 504
    assert counter.paused() == PauseReason.BREAK
    counter.desk.resume(NOW)
    counter.answer()
    counter.desk.sign_out(NOW)
    counter.answer()
    assert (counter.staff(), counter.paused()) == (None, None)
    assert [type(one) for one in counter.attachment.asked] == [SignIn, Pause, Resume, Resume, SignOut]


def test_a_device_that_comes_back_is_told_who_serves(counter: Counter) -> None:
    counter.desk.staff, counter.desk.paused = "017", PauseReason.MEETING
    counter.desk.connected("PJ-0001", NOW)
    assert counter.attachment.asked == [SignIn(staff="017"), Pause(reason=PauseReason.MEETING)]
    counter.desk.reported(status(staff="099"), 1, NOW)
    assert counter.staff() == "017"


def test_an_agent_that_knows_nobody_takes_the_devices_word_once(counter: Counter) -> None:
    counter.desk.connected("PJ-0001", NOW)
    counter.desk.reported(status(staff="017", conditions=Condition.PAUSED), 1, NOW)
    assert (counter.staff(), counter.paused()) == ("017", PauseReason.OTHER)
    counter.desk.reported(status(), 1, NOW)
    assert counter.staff() == "017"


def test_a_request_made_meanwhile_counts_more_than_the_devices_word(counter: Counter) -> None:
    counter.desk.connected("PJ-0001", NOW)
    counter.desk.sign_in("018", NOW)
    counter.desk.reported(status(staff="017"), 1, NOW)
    assert not counter.staff()
    counter.answer()
    assert counter.staff() == "018"
    assert not counter.paused()


def test_a_device_that_goes_leaves_nobody_without_an_answer(counter: Counter) -> None:
    opening, signing = counter.open(), counter.desk.sign_in("017", NOW)
    counter.desk.disconnected(NOW)
    assert (refusal(opening).status, refusal(signing).status) == (504, 504)
    counter.answer(number=1)  # too late
    counter.desk.disconnected(NOW)


def test_callers_are_answered_also_when_the_database_fails(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = counter.open(), counter.open()
    signing = counter.desk.sign_in("017", NOW)

    def fails(_evaluation: Evaluation) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(counter.store, "save", fails)
    with pytest.raises(sqlite3.OperationalError):
        counter.desk.disconnected(NOW)
    assert [refusal(future).status for future in (first, second)] == [504, 504]
    assert refusal(signing).status == 504
    monkeypatch.undo()
    counter.desk.reported(status(), 1, NOW)  # and what could not be noted then is found now
    assert not counter.store.unfinished()


def test_a_caller_who_has_gone_is_not_answered(counter: Counter) -> None:
    future = counter.open()
    future.cancel()
    counter.answer()
    other = counter.open()
    other.cancel()
    counter.answer(ErrorCode.VALUE)
    assert future.cancelled()
    assert other.cancelled()


def test_nobody_hears_of_an_end_that_is_not_durable_yet(counter: Counter) -> None:
    evaluation = counter.opened()
    ended = counter.desk.wait(evaluation.id)
    record = PaperDevice().write(Kind.RATING, evaluation=bytes.fromhex(evaluation.id))
    with counter.writer.transaction() as connection:
        changed = counter.desk.recorded(connection, [record], at(5))
        assert not ended.done()
    counter.desk.announce(changed)
    assert now(ended).state.value == "rated"
