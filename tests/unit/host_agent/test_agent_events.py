"""What listeners at the local API hear: over real HTTP and WebSocket connections to the real server; the device is paper."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from host_agent.api import stream
from host_agent.notices import KEPT, MOST_LISTENERS, Notices, WindowChanged
from protocol.levels import Level
from protocol.record import Kind, RecordFlag
from tests.agent_bench import at
from tests.chains import EPOCH_MS
from tests.hall import eventually
from tests.paper_agent import Place

T = TypeVar("T")
ORIGIN = "http://hall.example"
WITHIN_S = 10.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_one_evaluation_is_told_from_opened_to_its_end_and_then_the_stream_ends(place: Place) -> None:
    evaluation, other = place.open(), place.open("C-2")
    with place.listening(f"/v1/evaluations/{evaluation}/events") as heard:
        assert next(heard)["data"]["state"] == "opened"
        place.agent.record(Kind.EXPIRED, other)
        place.agent.record(Kind.RATING, evaluation)
        last = next(heard)
        assert (last["event"], last["data"]["state"], last["data"]["final"]) == ("evaluation", "rated", True)
        assert last["data"] == place.client.get(f"/v1/evaluations/{evaluation}").json()
        assert list(heard) == []
    with place.listening(f"/v1/evaluations/{evaluation}/events") as heard:
        assert [event["data"]["state"] for event in heard] == ["rated"]


def test_the_window_is_told_as_it_is_and_then_as_it_changes(place: Place) -> None:
    evaluation = place.open()
    with place.listening() as heard:
        assert next(heard)["data"] == {"staff": None, "paused": False, "device": "PJ-0001"}
        assert next(heard)["data"]["id"] == evaluation
        place.client.put("/v1/staff", json={"staff": "017"})
        assert next(heard)["data"] == {"staff": "017", "paused": False, "device": "PJ-0001"}
        place.client.put("/v1/staff", json={"staff": "017"})  # changes nothing, and is not told
        place.client.put("/v1/pause", json={"reason": "break"})
        assert next(heard)["data"] == {"staff": "017", "paused": True, "device": "PJ-0001"}
        place.agent.ask(lambda desk: desk.disconnected(at(9)))
        assert next(heard)["data"]["device"] is None
        place.agent.record(Kind.RATING, evaluation)
        assert next(heard)["data"]["state"] == "rated"


def test_a_rating_that_nobody_asked_for_is_told_without_its_level(place: Place) -> None:
    with place.listening() as heard:
        next(heard)
        place.agent.record(Kind.RATING, None, flags=RecordFlag.FREE_STANDING)
        told = next(heard)
        assert told["event"] == "free_rating"
        assert told["data"] == {"device": "PJ-0001", "seq": 1, "at_ms": EPOCH_MS + 1000, "staff": "017", "case": None}


def test_a_change_of_mind_and_extra_presses_tell_nothing_not_even_by_a_number_left_out(place: Place) -> None:
    evaluation = place.open()
    with place.listening() as heard:
        first = [next(heard), next(heard)][-1]
        place.agent.record(Kind.RATING, evaluation, level=Level.VERY_DISSATISFIED)
        place.agent.record(Kind.RATING, evaluation, level=Level.SATISFIED, flags=RecordFlag.REVISION)
        place.agent.record(Kind.RATING, None, flags=RecordFlag.REVISION | RecordFlag.FREE_STANDING)
        place.agent.record(Kind.EXTRA, evaluation)
        place.agent.ask(lambda desk: desk.disconnected(at(9)))
        rated, gone = next(heard), next(heard)
        assert [rated["event"], gone["event"]] == ["evaluation", "window"]
        numbers = [int(event["id"].partition("-")[2]) for event in (first, rated, gone)]
        assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


def test_who_comes_back_hears_what_was_missed_or_how_things_are(place: Place) -> None:
    with place.listening() as heard:
        last_id = next(heard)["id"]
    evaluation = place.open()
    place.agent.record(Kind.CANCELLED, evaluation)
    with place.listening(last_id=last_id) as heard:
        assert [next(heard)["data"]["state"], next(heard)["data"]["state"]] == ["opened", "cancelled"]
    run = last_id.partition("-")[0]
    for unknown in ("", "x", "0" * 8 + "-1", f"{run}-999999", f"{run}-" + "9" * 40):
        with place.listening(last_id=unknown) as heard:
            assert next(heard)["event"] == "window"


def test_the_same_over_a_websocket_with_the_token_as_a_subprotocol(place: Place) -> None:
    with place.socket() as socket:
        assert socket.subprotocol == "hcp.v1"  # the token is not said back
        first = json.loads(socket.recv(WITHIN_S))
        assert (first["event"], first["data"]["device"]) == ("window", "PJ-0001")
        socket.send("nobody reads this")
        socket.send(b"\xff")
        evaluation = place.open()
        assert json.loads(socket.recv(WITHIN_S))["data"]["id"] == evaluation
    place.agent.record(Kind.RATING, evaluation)
    with place.socket(query=f"?last_event_id={first['id']}") as socket:
        states = [json.loads(socket.recv(WITHIN_S))["data"]["state"] for _ in range(2)]
        assert states == ["opened", "rated"]


@pytest.mark.parametrize(
    ("token", "origin", "status", "word"),
    [
        ("wrong", ORIGIN, 401, "token"),
        (None, "http://evil.example", 403, "origin"),
        (None, "null", 403, "origin"),
    ],
)
def test_a_websocket_passes_the_same_checks(place: Place, token: str | None, origin: str, status: int, word: str) -> None:
    with pytest.raises(InvalidStatus) as refused, place.socket(token, origin):
        pass
    assert refused.value.response.status_code == status
    assert refused.value.response.body is not None
    assert json.loads(refused.value.response.body)["error"] == word
    with place.socket(origin=None) as socket:  # no page: a program of this PC, with the token
        assert json.loads(socket.recv(WITHIN_S))["event"] == "window"


def test_a_websocket_where_there_is_none_is_refused(place: Place) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)), connect(place.server.url.replace("http", "ws") + "/v1/status"):
        pass


def test_streams_need_the_token_and_a_listed_page(place: Place) -> None:
    for path in ("/v1/events", f"/v1/evaluations/{'0' * 32}/events"):
        assert place.client.get(path, headers={"authorization": "Bearer x"}).status_code == 401
        assert place.client.get(path, headers={"origin": "http://evil.example"}).status_code == 403
    assert place.client.get(f"/v1/evaluations/{'0' * 32}/events").json()["error"] == "unknown_evaluation"


def listeners(place: Place) -> int:
    return place.agent.ask(lambda desk: len(desk.notices._listeners))


def test_there_is_an_end_to_listeners_and_who_goes_makes_room(place: Place) -> None:
    evaluation = place.open()
    for path in ("/v1/events", f"/v1/evaluations/{evaluation}/events"):
        with place.listening(path) as heard:
            next(heard)
            assert listeners(place) == 1
        eventually("nobody listens", lambda: listeners(place) == 0)
    with ExitStack() as stack:
        for _ in range(MOST_LISTENERS):
            stack.enter_context(place.socket())
        eventually("all listen", lambda: listeners(place) == MOST_LISTENERS)
        answer = place.client.get("/v1/events")
        assert (answer.status_code, answer.json()["error"]) == (503, "too_many_listeners")
        with place.socket() as one_more, pytest.raises(ConnectionClosed) as closed:
            one_more.recv(WITHIN_S)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too_many_listeners")
    eventually("nobody listens", lambda: listeners(place) == 0)


def test_who_does_not_keep_up_is_cut_off_and_nobody_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_WAITING", 0)
    with place.listening() as slow:
        next(slow)
        place.open()
        assert list(slow) == []
    monkeypatch.undo()
    with place.listening() as heard:
        assert next(heard)["event"] == "window"


def test_a_stream_that_has_nothing_to_say_is_kept_alive(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.02)
    with place.client.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": "


def test_stopping_does_not_wait_for_listeners(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.listening() as heard, place.socket() as socket:
        next(heard)
        socket.recv(WITHIN_S)
        stopping = threading.Thread(target=place.server.stop)
        stopping.start()
        assert list(heard) == []
        with pytest.raises(ConnectionClosed):
            socket.recv(WITHIN_S)
        stopping.join(WITHIN_S)
        assert not stopping.is_alive()
    place.close()


# --- the level -----------------------------------------------------------------------------------------------------


def test_no_event_tells_a_level_unless_the_hall_has_switched_it_on(place: Place) -> None:
    evaluation = place.open()
    words = "|".join([*(level.word for level in Level), *(level.chinese for level in Level), "level"])
    with place.client.stream("GET", f"/v1/evaluations/{evaluation}/events") as answer:
        place.agent.record(Kind.RATING, evaluation, level=Level.VERY_DISSATISFIED)
        assert not re.search(words, answer.read().decode())
    assert not re.search(words, place.client.get("/v1/openapi.json").text)


def test_where_it_is_switched_on_answers_and_events_name_the_level_after_changes_of_mind(tmp_path: Path) -> None:
    place = Place(tmp_path, show_level=True)
    try:
        evaluation = place.open()
        assert place.client.get(f"/v1/evaluations/{evaluation}").json()["level"] is None
        with place.listening() as heard:
            next(heard), next(heard)
            place.agent.record(Kind.RATING, evaluation, level=Level.VERY_DISSATISFIED)
            assert next(heard)["data"]["level"] == "very_dissatisfied"
            place.agent.record(Kind.RATING, evaluation, level=Level.SATISFIED, flags=RecordFlag.REVISION)
            assert next(heard)["data"]["level"] == "satisfied"
            place.agent.record(
                Kind.RATING, "ab" * 16, level=Level.SATISFIED, flags=RecordFlag.REVISION
            )  # of nobody's evaluation
            place.agent.record(Kind.EXTRA, evaluation, level=Level.SATISFIED)
        assert place.client.get(f"/v1/evaluations/{evaluation}").json()["level"] == "satisfied"
        document = place.client.get("/v1/openapi.json").json()
        assert "level" in document["components"]["schemas"]["EvaluationWithLevel"]["properties"]
    finally:
        place.close()


# --- the numbers ---------------------------------------------------------------------------------------------------


def test_notices_are_kept_for_a_while_and_numbered_without_holes() -> None:
    notices = Notices()
    assert notices.since(0) == []
    for number in range(1, KEPT + 6):
        notices.say(WindowChanged(str(number), False, None))
    assert notices.since(4) is None
    kept = notices.since(5)
    assert kept is not None
    assert [entry.number for entry in kept] == list(range(6, KEPT + 6))
    assert notices.since(KEPT + 5) == []
    assert notices.since(KEPT + 6) is None
