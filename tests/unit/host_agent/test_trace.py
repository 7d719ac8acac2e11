"""Frames in words: every message can be told, none tells a level, and nobody pays for it who does not watch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host_agent.errors import RequestError
from host_agent.link.conversation import Conversation
from host_agent.link.trace import MOST_WATCHERS, Trace, words
from protocol.framing import Frame, encode_frame
from protocol.levels import Level
from protocol.messages import BY_CODE, Log, RecordMessage, StatusRequest, parse_message
from protocol.record import Kind
from tests.agent_bench import SESSION, at, status
from tests.chains import EVALUATION, PaperDevice
from tests.hall import ROOT
from tests.paper_agent import Place


def test_every_message_of_the_protocol_has_words() -> None:
    told = {}
    for case in json.loads((ROOT / "protocol" / "golden_vectors.json").read_text(encoding="utf-8"))["messages"]:
        message = parse_message(Frame(case["type"], 1, bytes.fromhex(case["payload"])))
        told[type(message)] = words(message)
        assert told[type(message)].startswith(type(message).__name__.removesuffix("Message"))
        assert told[type(message)].isprintable()
    assert set(told) == set(BY_CODE.values())


@pytest.mark.parametrize("kind", [Kind.RATING, Kind.EXTRA])
def test_two_records_that_differ_in_their_level_alone_have_the_same_words(kind: Kind) -> None:
    told = {
        words(RecordMessage(record=PaperDevice().write(kind, level, evaluation=EVALUATION).pack())) for level in range(1, 6)
    }
    assert len(told) == 1
    (line,) = told
    assert "level not shown" in line
    assert not any(level.word in line for level in Level)


def test_a_record_that_is_none_and_words_that_are_controls_are_borne() -> None:
    assert "unreadable" in words(RecordMessage(record=bytes(128)))
    assert words(Log(uptime_ms=1, severity=1, text="a\x1b[2J\nb")).endswith("text=a?[2J?b")


def test_who_watches_hears_both_directions_and_what_was_damaged() -> None:
    trace = Trace()
    conversation = Conversation(SESSION, at(0), trace=trace)
    heard: list[str] = []
    conversation.receive(encode_frame(status().frame(7)), at(1))
    trace.watch(heard.append)
    conversation.request(StatusRequest(), at(1))
    conversation.receive(encode_frame(status().frame(7)), at(1))
    conversation.receive(b"\x00garbage\x00", at(1))
    trace.leave(heard.append)
    conversation.receive(encode_frame(status().frame(8)), at(1))
    assert [line.split()[0] for line in heard] == ["→", "←", "←"]
    assert heard[0].endswith("StatusRequest")
    assert "#7 Status uptime_ms=" in heard[1]
    assert "损坏 damaged" in heard[2]


def test_there_is_an_end_to_watchers(tmp_path: Path) -> None:
    trace = Trace()
    for _ in range(MOST_WATCHERS):
        trace.watch(lambda _line: None)
    with pytest.raises(RequestError, match="too many"):
        trace.watch(lambda _line: None)
    place = Place(tmp_path)
    try:
        place.agent.paper.trace = trace
        answer = place.client.get("/v1/trace")
        assert (answer.status_code, answer.json()["error"]) == (503, "too_many_listeners")
        assert place.agent.ask(lambda desk: len(desk.notices._listeners)) == 0
    finally:
        place.close()
