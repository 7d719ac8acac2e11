"""Who is answered from afar: signed for this window and connection, once, not too many; and only what the hall allows is done."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_agent.instant import Instant
from host_agent.remote.gate import (
    KEPT_ANSWERS,
    MOST_ANSWERS_PER_MINUTE,
    MOST_PER_MINUTE,
    MOST_REQUEST_BYTES,
    Gate,
    RefusedError,
)
from protocol.payloads import Payload, RemoteAnswer
from protocol.remote import Asked, Refusal, answer_is_genuine, make_request
from protocol.signing import derive_remote_key
from protocol.topics import Window
from tests.agent_bench import at
from tests.chains import HALL_KEY, OTHER_KEY, WINDOW

KEY = derive_remote_key(HALL_KEY, WINDOW)
SESSION, LATER = "a" * 32, "c" * 32


def request_id(number: int) -> str:
    return f"{number:032x}"


ALL = tuple(one.value for one in Asked)


class Stage:
    """A gate whose acts note that they were done."""

    def __init__(self, allowed: tuple[str, ...] = ALL) -> None:
        self.done: list[tuple[Asked, Payload]] = []
        self.raises: Exception | None = None
        self.gate = Gate(KEY, WINDOW, allowed, {one: self._act(one) for one in Asked})

    def _act(self, asked: Asked) -> Any:
        def act(arguments: Payload, _now: Instant) -> Mapping[str, object]:
            if self.raises is not None:
                raise self.raises
            self.done.append((asked, arguments))
            return {"number": len(self.done)}

        return act

    def ask(
        self, number: int, kind: str = "status", arguments: str = "{}", session: str = SESSION, now: Instant | None = None,
        key: bytes = KEY,
    ) -> bytes | None:  # fmt: skip
        request = make_request(key, WINDOW, session, request_id(number), kind, arguments)
        return self.gate.received(request.to_json(), session, now or at(number))

    def word(self, *arguments: Any, **more: Any) -> str:
        answer = self.ask(*arguments, **more)
        assert answer is not None
        said = RemoteAnswer.from_json(answer)
        assert answer_is_genuine(KEY, WINDOW, said)
        assert (said.session, said.request) == (more.get("session", SESSION), request_id(arguments[0]))
        if said.word != "ok":
            assert json.loads(said.body)["text"]
        return said.word


def test_what_is_asked_is_done_once_and_its_answer_given_again() -> None:
    stage = Stage()
    first = stage.ask(60)
    assert first is not None
    assert json.loads(RemoteAnswer.from_json(first).body) == {"number": 1}
    assert stage.ask(60, now=at(75)) == first
    assert len(stage.done) == 1
    assert stage.gate.counters == {"remote_answered": 1, "remote_repeated": 1}


def test_at_another_connection_the_same_request_is_nothing() -> None:
    stage = Stage()
    kept = make_request(KEY, WINDOW, SESSION, request_id(1), "restart_link", "{}").to_json()
    assert stage.gate.received(kept, SESSION, at(1)) is not None
    assert stage.gate.received(kept, LATER, at(2)) is None
    assert stage.word(2, session=LATER) == "ok"
    assert stage.gate.received(kept, LATER, at(3)) is None
    assert [asked for asked, _ in stage.done] == [Asked.RESTART_LINK, Asked.STATUS]
    assert stage.word(1, session=LATER) == "ok", "the same id, signed for this connection"
    assert stage.gate.counters["remote_late"] == 2


@given(st.lists(st.integers(1, 60), min_size=60, max_size=120))
@settings(max_examples=60)
def test_in_whatever_order_requests_come_and_come_again_none_is_done_twice(numbers: list[int]) -> None:
    stage = Stage()
    done: list[int] = []
    for turn, number in enumerate(numbers):
        before = len(stage.done)
        stage.ask(number, now=at(10 * turn))
        done += [number] * (len(stage.done) - before)
    assert len(done) == len(set(done))
    assert set(numbers[:KEPT_ANSWERS]) <= set(done)


def test_what_was_forgotten_is_refused_and_not_done_again() -> None:
    stage = Stage()
    for number in range(1, KEPT_ANSWERS + 3):
        assert stage.word(number, now=at(10 * number)) == "ok"
    assert stage.word(1, now=at(1000)) == stage.word(2, now=at(1010)) == "too_old"
    assert stage.word(3, now=at(1020)) == "ok"
    assert len(stage.done) == KEPT_ANSWERS + 2
    assert stage.word(1, session=LATER, now=at(1030)) == "ok"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff", b"[]", b"[" * 4000, b'{"version":1}', b"x" * (MOST_REQUEST_BYTES + 1)],
    ids=["empty", "cut", "no text", "array", "deep", "fields missing", "giant"],
)
def test_what_is_no_request_gets_no_answer(payload: bytes) -> None:
    stage = Stage()
    assert stage.gate.received(payload, SESSION, at(1)) is None
    assert (stage.done, stage.gate.counters) == ([], {"remote_unsigned": 1})


def test_who_has_another_key_gets_no_answer_and_is_told_of_once_in_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    other = Window(WINDOW.area, WINDOW.hall, "08")
    with caplog.at_level(logging.WARNING):
        for number, key in enumerate((HALL_KEY, derive_remote_key(HALL_KEY, other), derive_remote_key(OTHER_KEY, WINDOW))):
            assert stage.ask(number, key=key) is None
        mirrored = make_request(KEY, other, SESSION, request_id(9), "status", "{}")
        assert stage.gate.received(mirrored.to_json(), SESSION, at(9)) is None
        assert len(caplog.records) == 1
        assert stage.word(10, session=LATER) == "ok"
        assert stage.ask(11, key=HALL_KEY) is None
        assert len(caplog.records) == 2
    assert stage.gate.counters["remote_unsigned"] == 5


@given(st.integers(0, 400), st.integers(1, 255), st.binary(max_size=3))
def test_no_byte_of_a_request_can_be_changed(place: int, flip: int, more: bytes) -> None:
    stage = Stage()
    good = make_request(KEY, WINDOW, SESSION, request_id(1), "log", '{"lines":5}').to_json()
    at_byte = place % len(good)
    changed = good[:at_byte] + bytes([good[at_byte] ^ flip]) + more + good[at_byte + 1 :]
    answer = stage.gate.received(changed, SESSION, at(1))
    assert answer is None or changed.replace(b" ", b"").replace(b"\n", b"") == good  # JSON has room between its words


@pytest.mark.parametrize("allowed", [(), ("status",), ("records", "log")])
def test_what_the_hall_has_not_allowed_is_not_done(allowed: tuple[str, ...]) -> None:
    stage = Stage(allowed)
    arguments = {"records": '{"device":"PJ-0001","first_seq":1,"last_seq":2}'}
    for number, one in enumerate(Asked, 1):
        word = stage.word(number, one.value, arguments.get(one.value, "{}"))
        assert word == ("ok" if one.value in allowed else "not_allowed")
    assert {asked.value for asked, _ in stage.done} == set(allowed)


@pytest.mark.parametrize(
    ("kind", "arguments", "word"),
    [
        ("shell", "{}", "unknown_kind"),
        ("status", "", "bad_arguments"),
        ("status", '{"lines":1}', "bad_arguments"),
        ("log", '{"lines":-1}', "bad_arguments"),
        ("log", '{"lines":"5"}', "bad_arguments"),
        ("log", "[" * 500, "bad_arguments"),
        ("records", '{"device":"PJ-0001","first_seq":1}', "bad_arguments"),
        ("records", '{"device":"../x","first_seq":1,"last_seq":2}', "bad_arguments"),
    ],
)
def test_a_request_that_is_none_is_refused_with_its_reason(kind: str, arguments: str, word: str) -> None:
    stage = Stage()
    assert stage.word(1, kind, arguments) == word
    assert stage.done == []


def test_too_many_in_a_minute_are_refused_and_beyond_that_dropped() -> None:
    stage = Stage()
    words = [stage.word(number, now=at(number / 100)) for number in range(1, MOST_ANSWERS_PER_MINUTE + 1)]
    assert words == ["ok"] * MOST_PER_MINUTE + ["busy"] * (MOST_ANSWERS_PER_MINUTE - MOST_PER_MINUTE)
    assert stage.ask(500, now=at(2)) is None
    assert stage.ask(MOST_ANSWERS_PER_MINUTE, now=at(2)) is None, "repetitions too"
    assert stage.gate.counters["remote_dropped"] == 2
    assert stage.word(501, now=at(70)) == "ok"


def test_an_act_that_refuses_or_fails_is_answered_and_damage_is_passed_on() -> None:
    stage = Stage()
    stage.raises = RefusedError(Refusal.TOO_LARGE, "so many")
    assert stage.word(1) == "too_large"
    stage.raises = ZeroDivisionError("secret of the database")
    answer = stage.ask(2)
    assert answer is not None
    assert b"unavailable" in answer
    assert b"secret" not in answer
    stage.raises = sqlite3.DatabaseError("database disk image is malformed")
    with pytest.raises(sqlite3.DatabaseError):
        stage.ask(3)
