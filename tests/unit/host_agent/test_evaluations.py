"""How an evaluation ends: by a record and by nothing else becomes it rated."""

from __future__ import annotations

import pytest

from host_agent.evaluations import Evaluation, EvaluationState
from protocol.record import Kind
from tests.chains import CASE

OPENING = Evaluation(id="0" * 32, case=CASE, timeout_ms=60_000, created_ms=1)
OPENED = OPENING.opened()


@pytest.mark.parametrize(("kind", "state"), [(Kind.RATING, "rated"), (Kind.EXPIRED, "expired"), (Kind.CANCELLED, "cancelled")])
def test_a_record_ends_it_from_wherever_it_stood(kind: Kind, state: str) -> None:
    for before in (OPENING, OPENED, OPENING.failed("no_answer", 5), OPENED.device_lost(5)):
        after = before.after_record(kind, 9)
        assert (after.state.value, after.ended_ms, after.reason) == (state, 9, None)
        assert after.after_record(kind, 10) is after


def test_a_rating_is_never_taken_back() -> None:
    rated = OPENED.after_record(Kind.RATING, 9)
    for kind in Kind:
        assert rated.after_record(kind, 10) is rated
    assert rated.device_lost(10) is rated
    assert rated.failed("no_answer", 10) is rated
    assert rated.opened() is rated


def test_no_other_record_ends_it() -> None:
    for kind in set(Kind) - {Kind.RATING, Kind.EXPIRED, Kind.CANCELLED}:
        assert OPENED.after_record(kind, 9) is OPENED


def test_what_is_no_press_has_a_word_of_its_own() -> None:
    assert OPENED.device_lost(9).state is EvaluationState.DEVICE_LOST
    assert OPENING.failed("no_answer", 9).state is EvaluationState.ERROR
    assert OPENED.failed("no_answer", 9) is OPENED
    assert [state.value for state in EvaluationState if not state.is_final] == ["opening", "opened"]
