"""The local API over a desk and a store that are real and a device that is paper: who may call, and what is answered."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import pytest

from host_agent.api import show as show_module
from host_agent.api.app import make_app
from host_agent.api.server import LEAST_TOKEN, read_or_make_token
from host_agent.api.where import TOKEN_FILE
from host_agent.config import ApiConfig
from host_agent.errors import RequestError
from host_agent.store.evaluations import EvaluationStore
from protocol.levels import Level
from protocol.messages import ErrorCode, Language, Prompt, Say
from protocol.record import Kind
from tests.paper_agent import PaperAgent

T = TypeVar("T")
TOKEN = "t" * 32
ORIGIN = "http://hall.example"
AUTH = {"authorization": f"Bearer {TOKEN}"}
SETTINGS = ApiConfig(origins=[ORIGIN])
CASE = {"case": {"case_no": "C-1"}}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[PaperAgent]:
    made = PaperAgent(tmp_path)
    yield made
    made.writer.close()


def asked(
    agent: PaperAgent, method: str, path: str, settings: ApiConfig = SETTINGS, host: str = "127.0.0.1:17610", **more: Any
) -> httpx.Response:
    """One request, with the token unless headers are given."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(agent, TOKEN, settings))  # type: ignore[arg-type]  # a paper one
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **{"headers": AUTH, **more})

    return anyio.run(ask)


def opened(agent: PaperAgent) -> str:
    answer = asked(agent, "POST", "/v1/evaluations", json=CASE)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


# --- who may call ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"bearer{TOKEN}"}, {"authorization": "Bearer "}]
)
def test_without_the_token_nothing_is_done(agent: PaperAgent, headers: dict[str, str]) -> None:
    answer = asked(agent, "POST", "/v1/evaluations", json=CASE, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "token")
    assert agent.calls == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:17610", "localhost:1", "LOCALHOST", "[::1]", "[::1]:17610"])
def test_loopback_has_several_names(agent: PaperAgent, host: str) -> None:
    assert asked(agent, "GET", "/v1/status", headers={**AUTH, "host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]", "localhost.evil"])
def test_another_host_name_is_refused_also_with_the_token(agent: PaperAgent, host: str) -> None:
    answer = asked(agent, "GET", "/v1/status", headers={**AUTH, "host": host})
    assert (answer.status_code, answer.json()["error"]) == (421, "host")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://hall.example:81", "https://hall.example"])
def test_another_origin_is_refused_also_with_the_token(agent: PaperAgent, origin: str) -> None:
    answer = asked(agent, "GET", "/v1/status", headers={**AUTH, "origin": origin})
    assert (answer.status_code, answer.json()["error"]) == (403, "origin")
    assert "access-control-allow-origin" not in answer.headers
    assert asked(agent, "OPTIONS", "/v1/status", headers={"origin": origin}).status_code == 403


def test_a_listed_page_may_call_and_read_every_answer(agent: PaperAgent) -> None:
    headers = {**AUTH, "origin": ORIGIN}
    for path, code in (("/v1/status", 200), ("/v1/evaluations/" + "0" * 32, 404), ("/nowhere", 404)):
        answer = asked(agent, "GET", path, headers=headers)
        assert answer.status_code == code
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["vary"] == "Origin"
    refused = asked(agent, "GET", "/v1/status", headers={"origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == ORIGIN


def test_a_preflight_is_answered_also_for_access_from_a_public_page(agent: PaperAgent) -> None:
    headers = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
        "access-control-request-private-network": "true",
    }
    answer = asked(agent, "OPTIONS", "/v1/evaluations", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "idempotency-key" in answer.headers["access-control-allow-headers"]
    assert agent.calls == 0


def test_a_body_has_an_end(agent: PaperAgent) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    for more in (
        {"content": b" " * 70_000},
        {"content": endless()},
        {"content": b"{}", "headers": {**AUTH, "content-length": "x"}},
    ):
        answer = asked(agent, "POST", "/v1/evaluations", **more)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert agent.calls == 0


# --- what is answered --------------------------------------------------------------------------------------------


def test_a_body_that_cannot_be_used_is_counted(agent: PaperAgent) -> None:
    assert asked(agent, "POST", "/v1/evaluations", json={"case": {}}).status_code == 422
    assert agent.counted == ["api_requests_invalid"]


def test_an_evaluation_from_opening_to_its_end(agent: PaperAgent) -> None:
    evaluation = opened(agent)
    shown = asked(agent, "GET", f"/v1/evaluations/{evaluation}").json()
    assert (shown["state"], shown["final"], shown["case"]["case_no"]) == ("opened", False, "C-1")
    assert asked(agent, "GET", f"/v1/evaluations/{evaluation}?wait_s=0.05").json()["state"] == "opened"
    assert agent.desk._waiters == {}
    agent.record(Kind.RATING, evaluation)
    shown = asked(agent, "GET", f"/v1/evaluations/{evaluation}?wait_s=5").json()
    assert (shown["state"], shown["final"], shown["reason"]) == ("rated", True, None)
    assert asked(agent, "DELETE", f"/v1/evaluations/{evaluation}").json()["state"] == "rated"


def test_a_waiter_whose_caller_goes_is_dropped(agent: PaperAgent) -> None:
    evaluation = opened(agent)
    requested = [{"type": "http.request", "body": b"", "more_body": False}]

    async def run() -> None:
        async def receive() -> Any:
            if requested:
                return requested.pop()
            while not agent.desk._waiters:
                await anyio.sleep(0)
            return {"type": "http.disconnect"}

        async def send(_message: Any) -> None:
            pass

        scope = {
            "type": "http", "method": "GET", "path": f"/v1/evaluations/{evaluation}", "query_string": b"wait_s=60",
            "headers": [(b"host", b"localhost"), (b"authorization", AUTH["authorization"].encode())],
            "http_version": "1.1", "scheme": "http", "server": None, "client": None, "root_path": "",
        }  # fmt: skip
        with anyio.fail_after(5):
            await make_app(agent, TOKEN, ApiConfig())(scope, receive, send)  # type: ignore[arg-type]  # a paper one

    anyio.run(run)
    assert agent.desk._waiters == {}


def test_a_key_used_for_another_case_is_409(agent: PaperAgent) -> None:
    headers = {**AUTH, "idempotency-key": "k"}
    first = asked(agent, "POST", "/v1/evaluations", json=CASE, headers=headers).json()
    assert asked(agent, "POST", "/v1/evaluations", json=CASE, headers=headers).json()["id"] == first["id"]
    answer = asked(agent, "POST", "/v1/evaluations", json={"case": {"case_no": "C-2"}}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (409, "key_reused")


def test_an_evaluation_may_be_of_no_case(agent: PaperAgent) -> None:
    for body in ({}, {"case": None}):
        answer = asked(agent, "POST", "/v1/evaluations", json=body)
        assert (answer.status_code, answer.json()["case"]) == (201, None)
    evaluation = answer.json()["id"]
    agent.record(Kind.RATING, evaluation)
    assert asked(agent, "GET", f"/v1/evaluations/{evaluation}").json()["state"] == "rated"
    restarted = EvaluationStore(agent.writer).get(evaluation)
    assert restarted is not None
    assert restarted.case is None


@pytest.mark.parametrize(
    "reference", ["533103199001011234", "53310319900101123X", "533103900101123", "13800138000", "张三", "a b", ""]
)
def test_an_applicant_reference_that_could_be_a_person_is_refused_and_not_in_the_log(
    agent: PaperAgent, reference: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = asked(agent, "POST", "/v1/evaluations", json={"case": {"case_no": "C-1", "applicant_ref": reference}})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
    assert "applicant_ref" in answer.json()["message"]
    if reference:
        assert reference not in caplog.text


def test_an_applicant_reference_travels_with_the_case(agent: PaperAgent) -> None:
    case = {"case_no": "533103202611230017", "applicant_ref": "crm:9f2a-1"}  # a case number may well look like that
    answer = asked(agent, "POST", "/v1/evaluations", json={"case": case})
    assert answer.status_code == 201
    assert {name: value for name, value in answer.json()["case"].items() if value} == case


def test_the_follow_up_page_is_the_same_for_everybody(agent: PaperAgent) -> None:
    settings = ApiConfig(follow_up_url="https://hall.example/f/{evaluation}?from=window")
    answer = asked(agent, "POST", "/v1/evaluations", settings, json=CASE)
    evaluation = answer.json()["id"]
    before = (
        answer.json()["follow_up_url"],
        asked(agent, "GET", f"/v1/evaluations/{evaluation}/follow-up.svg", settings).content,
    )
    agent.record(Kind.RATING, evaluation, Level.VERY_DISSATISFIED)
    answer = asked(agent, "GET", f"/v1/evaluations/{evaluation}", settings)
    after = answer.json()["follow_up_url"], asked(agent, "GET", f"/v1/evaluations/{evaluation}/follow-up.svg", settings).content
    assert before == after
    assert before[0] == f"https://hall.example/f/{evaluation}?from=window"
    for form, kind in (("svg", "image/svg+xml"), ("png", "image/png")):
        image = asked(agent, "GET", f"/v1/evaluations/{evaluation}/follow-up.{form}", settings)
        assert (image.status_code, image.headers["content-type"]) == (200, kind)
    assert asked(agent, "GET", f"/v1/evaluations/{evaluation}/follow-up.gif", settings).status_code == 422
    assert asked(agent, "GET", f"/v1/evaluations/{'0' * 32}/follow-up.svg", settings).status_code == 404


def test_a_hall_without_a_follow_up_page_has_no_link(agent: PaperAgent) -> None:
    evaluation = opened(agent)
    assert asked(agent, "GET", f"/v1/evaluations/{evaluation}").json()["follow_up_url"] is None
    assert asked(agent, "GET", f"/v1/evaluations/{evaluation}/follow-up.svg").json()["error"] == "no_follow_up"


def test_staff_and_pause(agent: PaperAgent) -> None:
    for method, path, body in (
        ("PUT", "/v1/staff", {"staff": "017"}),
        ("PUT", "/v1/pause", {"reason": "meeting"}),
        ("DELETE", "/v1/pause", None),
        ("DELETE", "/v1/staff", None),
    ):
        assert asked(agent, method, path, json=body).status_code == 204
        if path == "/v1/staff":
            assert agent.desk.staff == ("017" if method == "PUT" else None)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"[]", b"null", b'{"case": {}}', b'{"case": {"case_no": ""}}', b'{"case": {"case_no": 5}}',
        b'{"case": {"case_no": "1"}, "level": 5}', b'{"case": {"case_no": "1", "item_nmae": "x"}}',
        b'{"case": {"case_no": "1"}, "timeout_s": 1}', b'{"case": {"case_no": "1"}, "staff": "a b"}',
        b'{"case": {"case_no": "1"}, "language": "klingon"}', b'{"case": {"case_no": "\\ud800"}}',
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_422_with_its_place(agent: PaperAgent, body: bytes) -> None:
    answer = asked(agent, "POST", "/v1/evaluations", content=body, headers={**AUTH, "content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid"
    assert "body" in answer.json()["message"]
    assert agent.calls == 0


def test_the_device_speaks_what_is_asked_for(agent: PaperAgent) -> None:
    for body in ({"prompt": "welcome"}, {"prompt": "call", "language": "dai"}, {"text": 7}):
        assert asked(agent, "POST", "/v1/voice", json=body).status_code == 204
    assert agent.asked == [
        Say(prompt=Prompt.WELCOME, number=0, language=Language.DEVICE_SETTING),
        Say(prompt=Prompt.CALL, number=0, language=Language.DAI),
        Say(prompt=Prompt.TEXT, number=7, language=Language.DEVICE_SETTING),
    ]
    for wrong in ({}, {"prompt": "shout"}, {"text": 0}, {"prompt": "call", "text": 1}, {"text": 256}):
        assert asked(agent, "POST", "/v1/voice", json=wrong).status_code == 422
    agent.error = ErrorCode.VALUE
    answer = asked(agent, "POST", "/v1/voice", json={"text": 8})
    assert (answer.status_code, answer.json()["error"]) == (409, "value")
    assert "没有这段语音" in answer.json()["message"]
    agent.error = ErrorCode.UNKNOWN_TYPE
    assert "更新固件" in asked(agent, "POST", "/v1/voice", json={"text": 8}).json()["message"]


def test_a_body_in_no_encoding_is_400(agent: PaperAgent) -> None:
    answer = asked(agent, "POST", "/v1/evaluations", content=b"\xff", headers={**AUTH, "content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "request")


def test_what_is_not_there_has_the_same_form(agent: PaperAgent) -> None:
    for method, path, code, word in (
        ("GET", "/nowhere", 404, "not_found"),
        ("PATCH", "/v1/status", 405, "method"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/evaluations/" + "0" * 32, 404, "unknown_evaluation"),
        ("GET", "/v1/evaluations/short", 422, "invalid"),
        ("GET", "/v1/evaluations/" + "0" * 32 + "?wait_s=61", 422, "invalid"),
    ):
        answer = asked(agent, method, path)
        assert (answer.status_code, answer.json()["error"]) == (code, word)
        assert set(answer.json()) == {"error", "message"}


def test_without_a_device_503_and_one_that_refuses_409(agent: PaperAgent) -> None:
    agent.error = ErrorCode.JOURNAL_FULL
    answer = asked(agent, "POST", "/v1/evaluations", json=CASE)
    assert (answer.status_code, answer.json()["error"]) == (409, "journal_full")
    agent.is_talking = False
    answer = asked(agent, "POST", "/v1/evaluations", json=CASE)
    assert (answer.status_code, answer.json()["error"]) == (503, "no_device")


def test_a_device_that_does_not_answer_is_504(agent: PaperAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_module, "ANSWER_WITHIN_S", 0.05)
    agent.answers = False
    answer = asked(agent, "POST", "/v1/evaluations", json=CASE)
    assert (answer.status_code, answer.json()["error"]) == (504, "no_answer")


@pytest.mark.parametrize(
    ("error", "word"), [(sqlite3.OperationalError("full"), "store"), (RequestError(503, "stopping", "x"), "stopping")]
)
def test_a_database_that_fails_or_an_agent_that_ends_is_503(agent: PaperAgent, error: Exception, word: str) -> None:
    agent.raises = error
    for method, path in (("POST", "/v1/evaluations"), ("GET", "/v1/status")):
        answer = asked(agent, method, path, json=CASE)
        assert (answer.status_code, answer.json()["error"]) == (503, word)


def test_nothing_anywhere_tells_a_level(agent: PaperAgent) -> None:
    document = asked(agent, "GET", "/v1/openapi.json", headers={})
    assert document.status_code == 200
    evaluation = opened(agent)
    agent.record(Kind.RATING, evaluation)
    texts = [document.text, asked(agent, "GET", f"/v1/evaluations/{evaluation}").text, asked(agent, "GET", "/v1/status").text]
    for text in texts:
        assert "level" not in text.lower()
        assert "satisf" not in text.lower()
        assert not any(level.chinese in json.dumps(json.loads(text), ensure_ascii=False) for level in Level)


# --- the token ---------------------------------------------------------------------------------------------------


def test_a_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    token = read_or_make_token(tmp_path)
    assert len(token) >= LEAST_TOKEN
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o077 == 0
    assert read_or_make_token(tmp_path) == token


def test_a_token_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / TOKEN_FILE).write_text("")
    assert len(read_or_make_token(tmp_path)) >= LEAST_TOKEN
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o077 == 0


def test_a_token_in_a_shared_folder_is_told_of_when_everybody_can_read_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o777)
    token = read_or_make_token(tmp_path)
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o077 == 0
    for mode, is_told in ((0o640, False), (0o644, True)):
        (tmp_path / TOKEN_FILE).chmod(mode)
        with caplog.at_level(logging.WARNING):
            assert read_or_make_token(tmp_path) == token
        assert ("open to others" in caplog.text) is is_told
        assert token not in caplog.text


def test_a_body_that_is_refused_is_told_in_the_log_without_what_it_said(
    agent: PaperAgent, caplog: pytest.LogCaptureFixture
) -> None:
    for body in ({"case": {"case_no": "C-1"}, "timeout_s": 1}, {"case": {"case_no": "C-1"}, "mobile": "13800000000"}):
        assert asked(agent, "POST", "/v1/evaluations", json=body).status_code == 422
    first, second = (record.getMessage() for record in caplog.records if record.name == "agent.api")
    assert "POST /v1/evaluations refused: greater_than_equal body.timeout_s" in first
    assert "extra_forbidden" in second
    assert "mobile" not in caplog.text
    assert "13800000000" not in caplog.text
