"""Calls in the form of older evaluators, over a real WebSocket to the real server: what a business system in the field sends."""

from __future__ import annotations

import json
import socket as sockets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from host_agent.errors import AgentError
from host_agent.link.events import Answered
from protocol.levels import Level
from protocol.messages import ErrorCode
from protocol.record import Kind
from tests.agent_bench import at
from tests.hall import eventually
from tests.paper_agent import ORIGIN, WITHIN_S, Place

CALL = {"type": 10, "TellerName": "张三", "TellerNo": "017", "Timeout": 30}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, compatibility_port=0)
    yield made
    made.close()


def caller(place: Place, origin: str | None = ORIGIN, host: str = "127.0.0.1") -> Any:
    return connect(f"ws://{host}:{place.server.compatibility_ports[0]}/", origin=origin, open_timeout=WITHIN_S, close_timeout=1)  # type: ignore[arg-type]  # a str will do


def asked(place: Place) -> str:
    """Wait until the citizen is asked; return the evaluation's id."""

    def look() -> str:
        now = place.agent.ask(lambda desk: desk.open_evaluation())
        return now.id if now is not None else ""

    return eventually("the citizen is asked", look)


def heard(socket: Any) -> Any:
    return json.loads(socket.recv(WITHIN_S))


@pytest.mark.parametrize(("kind", "ret"), [(Kind.RATING, 0), (Kind.EXPIRED, -2), (Kind.CANCELLED, -9)])
def test_how_it_ended_is_told_by_its_number_and_the_level_is_not(place: Place, kind: Kind, ret: int) -> None:
    with caller(place) as socket:
        socket.send(json.dumps(CALL))
        evaluation = asked(place)
        place.agent.record(kind, evaluation, Level.VERY_DISSATISFIED)
        assert heard(socket) == {"type": 10, "ret": ret, "EvaluatorLevel": 0}
    opened = place.client.get(f"/v1/evaluations/{evaluation}").json()
    assert (opened["staff"], opened["case"]) == ("017", None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_program_that_is_no_page_may_call_by_either_name(place: Place, host: str) -> None:
    with caller(place, None, host) as socket:
        socket.send('{"type": 10}')
        place.agent.record(Kind.RATING, asked(place))
        assert heard(socket)["ret"] == 0


def test_the_next_call_withdraws_the_one_before(place: Place) -> None:
    with caller(place) as socket:
        socket.send(json.dumps(CALL))
        first = asked(place)
        socket.send(json.dumps(CALL))
        eventually("the second is asked for", lambda: place.agent.ask(lambda desk: len(desk._unfinished)) == 2)
        place.agent.record(Kind.CANCELLED, first)  # as the device does it: superseded
        assert heard(socket)["ret"] == -9
        place.agent.record(Kind.RATING, asked(place))
        assert heard(socket)["ret"] == 0


def test_without_a_device_and_when_it_goes_away(place: Place) -> None:
    with caller(place) as socket:
        socket.send(json.dumps(CALL))
        evaluation = asked(place)
        place.agent.ask(lambda desk: desk._change(desk.get(evaluation).device_lost(9)))
        assert heard(socket)["ret"] == -3
        place.agent.paper.is_talking = False
        socket.send(json.dumps(CALL))
        answer = heard(socket)
        assert (answer["ret"], answer["EvaluatorLevel"]) == (-3, 0)
        assert "评价器未连接" in answer["msg"]
        place.agent.paper.is_talking = True
        place.agent.paper.error = ErrorCode.JOURNAL_FULL
        socket.send(json.dumps(CALL))
        assert heard(socket)["ret"] == -3


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "10", '"type"', '{"type": 11}', "{}", '{"type": 10, "TellerNo": "张三"}', '{"type": 10, "Timeout": -1}',
        '{"type": 10, "Timeout": 1e99}', '{"type": 10, "Timeout": "x"}', '{"type": 10, "Timeout": NaN}', "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_call_is_answered_and_the_line_stays(place: Place, text: str) -> None:
    with caller(place) as socket:
        socket.send(text[:60_000])
        answer = heard(socket)
        assert answer["ret"] == -1
        assert answer["msg"]
        assert "张三" not in json.dumps(answer, ensure_ascii=False)
        socket.send(json.dumps(CALL))
        place.agent.record(Kind.RATING, asked(place))
        assert heard(socket)["ret"] == 0


def test_a_time_is_in_seconds_or_if_it_can_be_none_in_milliseconds(place: Place) -> None:
    for timeout, expected in ((30, 30_000), (30_000, 30_000), (1, 5_000), ("20", 20_000)):
        with caller(place) as socket:
            socket.send(json.dumps({**CALL, "Timeout": timeout}))
            evaluation = asked(place)
            assert place.agent.ask(lambda desk, one=evaluation: desk.get(one)).timeout_ms == expected  # type: ignore[misc]  # bound on purpose
            place.agent.record(Kind.RATING, evaluation)
            assert heard(socket)["ret"] == 0


def test_a_caller_that_goes_away_takes_nothing_from_the_citizen(place: Place) -> None:
    with caller(place) as socket:
        socket.send(json.dumps(CALL))
        evaluation = asked(place)
    place.agent.record(Kind.RATING, evaluation)
    assert place.client.get(f"/v1/evaluations/{evaluation}").json()["state"] == "rated"


def test_calls_have_an_end_in_number(place: Place) -> None:
    place.agent.paper.answers = False
    with caller(place) as socket:
        for _ in range(9):
            socket.send(json.dumps(CALL))
        assert heard(socket)["ret"] == -1


def test_pages_that_are_not_listed_and_other_names_are_refused(place: Place) -> None:
    for origin in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused, caller(place, origin):
            pass
        assert refused.value.response.status_code == 403


def test_the_api_is_not_on_that_port_nor_that_form_on_the_apis(place: Place) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{place.server.compatibility_ports[0]}/v1/status", timeout=WITHIN_S)
    assert refused.value.code == 426
    refused.value.close()
    with pytest.raises(InvalidStatus), connect(place.server.url.replace("http", "ws") + "/", origin=None):
        pass


def test_it_is_off_by_default_and_a_port_in_use_is_told_of(tmp_path: Path) -> None:
    place = Place(tmp_path / "a")
    assert place.server.compatibility_ports == []
    place.close()
    with sockets.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AgentError, match="compatibility_port"):
        Place(tmp_path / "b", compatibility_port=taken.getsockname()[1])


def test_where_the_level_is_switched_on_it_is_told_in_the_vendors_numbers(tmp_path: Path) -> None:
    place = Place(tmp_path, compatibility_port=0, show_level=True, compatibility_levels=[1, 2, 3, 4, 5])
    try:
        for level, number in ((Level.VERY_SATISFIED, 1), (Level.DISSATISFIED, 4), (Level.VERY_DISSATISFIED, 5)):
            with caller(place) as socket:
                socket.send(json.dumps(CALL))
                place.agent.record(Kind.RATING, asked(place), level)
                assert heard(socket)["EvaluatorLevel"] == number
    finally:
        place.close()


def test_a_late_answer_of_the_device_is_no_result(place: Place) -> None:
    place.agent.paper.answers = False
    with caller(place) as socket:
        socket.send(json.dumps(CALL))
        eventually("the device was asked", lambda: place.agent.paper.number >= 2)
        place.agent.ask(lambda desk: desk.answered(Answered(1, None), at(0)))
        place.agent.ask(lambda desk: desk.answered(Answered(2, None, gave_up=True), at(0)))
        assert heard(socket)["ret"] == -3
