"""The agent's HTTP API: any request is answered, in the documented shape, and never with a 500."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from host_agent.api.app import make_app
from host_agent.api.models import ErrorAnswer, EvaluationAnswer, FreeRatingAnswer
from host_agent.config import ApiConfig
from host_agent.desk import Desk
from host_agent.instant import Instant
from host_agent.link.events import Answered
from host_agent.link.trace import Trace
from host_agent.report import StatusReport
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from protocol.messages import Message as DeviceMessage
from tools.fuzz.caller import Caller
from tools.fuzz.target import Check, Target, must

T = TypeVar("T")
_TOKEN = "t" * 32
_REPORT = StatusReport(
    agent="0", window="533103/bench/07", link="talking", port=None, link_trouble=None, device=None,
    device_trouble=None, firmware=None, boot=None,
    release_on_ack=False, staff=None, paused=False, evaluation=None, conditions=[], device_heard_ms=None,
    device_uptime_ms=None, clock_ahead_ms=None, clock_ppm=None, journal_waiting=None, journal_free=None,
    broker_connected=False, broker_trouble=None, store_trouble=None, databases_set_aside=[], database_bytes=49152,
    database_most_bytes=256_000_000, outbox_to_send=0, outbox_sent=0,
    oldest_waiting_ms=None, counters={},
)  # fmt: skip
_METHODS_WITHOUT_BODY = ("HEAD",)
_NOT_JSON = {
    "/v1/sdk.js": b"text/javascript",
    "/v1/events": b"text/event-stream",
    "/v1/trace": b"text/event-stream",
    "/v1/evaluations/{evaluation_id}/events": b"text/event-stream",
    "/v1/evaluations/{evaluation_id}/follow-up.{form}": b"image/",
}
_TEMPLATES = (
    (re.compile(r"/v1/evaluations/[^/]+/events"), "/v1/evaluations/{evaluation_id}/events"),
    (re.compile(r"/v1/evaluations/[^/]+/follow-up\..+"), "/v1/evaluations/{evaluation_id}/follow-up.{form}"),
    (re.compile(r"/v1/evaluations/.+", re.DOTALL), "/v1/evaluations/{evaluation_id}"),
    (re.compile(r"/v1/free-ratings/[^/]+/[^/]+/case"), "/v1/free-ratings/{device}/{seq}/case"),
)


def _template(path: str) -> str:
    """Return the path as the document has it."""
    return next((template for shape, template in _TEMPLATES if shape.fullmatch(path)), path)


class _PaperAgent:
    """Stands for an agent: a real desk and a real store, calls that run at once, and a device that carries everything out."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.is_talking = True
        self.trouble: str | None = None
        self.trace = Trace()
        self._number = 0
        writer = Writer(Path(self._folder.name))
        self.desk = Desk(self, EvaluationStore(writer), LateCaseStore(writer), os.urandom)  # type: ignore[arg-type]  # it is the attachment as well

    def count(self, name: str) -> None:
        """Count nothing."""

    def request(self, _message: DeviceMessage, _now: Instant) -> int:
        """Take a request for the device."""
        self._number += 1
        return self._number

    def call(self, what: Callable[[Desk, Instant], T]) -> Future[T]:
        """Run it now; the device answers before this returns."""
        future: Future[T] = Future()
        now, answered = Instant(0.0, 1_780_000_000_000), self._number
        try:
            future.set_result(what(self.desk, now))
            while answered < self._number:  # one answer may bring about the next request
                answered += 1
                self.desk.answered(Answered(answered, None), now)
        except Exception as error:
            future.set_exception(error)
        return future

    def status(self) -> Future[StatusReport]:
        """Return a report."""
        return self.call(lambda _desk, _now: _REPORT)


def agent_api() -> Check:
    """Any request to the agent's API: JSON of the documented shape, never a 500, never a level."""
    app = make_app(_PaperAgent(), _TOKEN, ApiConfig(origins=["http://hall.example"]))  # type: ignore[arg-type]  # a paper one
    documented = app.openapi()["paths"]
    caller = Caller(app)
    usual = [
        (b"host", b"127.0.0.1:17610"),
        (b"authorization", b"Bearer " + _TOKEN.encode()),
        (b"content-type", b"application/json"),
    ]
    shapes: dict[str, TypeAdapter[Any]] = {
        "/v1/status": TypeAdapter(StatusReport),
        "/v1/free-ratings": TypeAdapter(list[FreeRatingAnswer]),
        "/v1/free-ratings/{device}/{seq}/case": TypeAdapter(FreeRatingAnswer),
    }
    evaluation = TypeAdapter(EvaluationAnswer)

    def check(data: bytes) -> None:
        method, path, status, headers, answer = caller.ask(data, usual)
        told = f"{method} {path!r} → {status} {answer[:200]!r}"
        must(status < 500 or status in (503, 504), told)
        if status == 204 or path == "/v1/openapi.json" or method in _METHODS_WITHOUT_BODY:
            return
        template = _template(path)
        if status == 200 and template in _NOT_JSON:
            must(headers.get(b"content-type", b"").startswith(_NOT_JSON[template]), told)
            must(b"level" not in answer or template == "/v1/sdk.js", told)
            return
        must(headers.get(b"content-type", b"").startswith(b"application/json"), told)
        content = json.loads(answer)
        if status >= 400:
            ErrorAnswer.model_validate(content, strict=True)
            must(set(content) == set(ErrorAnswer.model_fields), told)
        else:
            shapes.get(template, evaluation).validate_python(content, strict=False)
            must("level" not in content, told)
        known = documented.get(template, {}).get(method.lower())
        must(known is None or str(status) in known["responses"], f"an undocumented answer: {told}")

    return check


def _agent_seeds() -> list[bytes]:
    case = b'{"case":{"case_no":"C-1","item_name":"\xe6\x88\xb7\xe5\x8f\xa3"},"staff":"017","timeout_s":30,"language":"dai"}'
    made = b"GET /v1/evaluations/" + b"0" * 32
    return [
        b"POST /v1/evaluations\nidempotency-key: k1\n\n" + case,
        b"POST /v1/evaluations\norigin: http://hall.example\n\n" + case,
        b"OPTIONS /v1/evaluations\norigin: http://hall.example\n\n",
        made,
        made + b"?wait_s=1.5",
        b"DELETE /v1/evaluations/" + b"f" * 32,
        b'PUT /v1/staff\n\n{"staff":"017"}',
        b"DELETE /v1/staff",
        b'PUT /v1/pause\n\n{"reason":"break"}',
        b"DELETE /v1/pause",
        b'POST /v1/voice\n\n{"prompt":"call","language":"jingpo"}',
        b'POST /v1/voice\n\n{"text":7}',
        b"GET /v1/free-ratings?limit=5",
        b'PUT /v1/free-ratings/PJ-0001/7/case\n\n{"case_no":"L-1","applicant_ref":"a-1"}',
        b"GET /v1/events\nlast-event-id: 00000000-7",
        b"GET /v1/trace",
        b"GET /v1/evaluations/" + b"0" * 32 + b"/events",
        b"GET /v1/evaluations/" + b"0" * 32 + b"/follow-up.png",
        b"GET /v1/sdk.js",
        b"GET /v1/status",
        b"GET /v1/openapi.json",
        b"GET /v1/status\nauthorization: Bearer x\ncontent-length: 5\n\nhello",
        b"GET /v1/status\nhost: evil.example",
    ]


TARGETS = (Target("agent-api", "the agent's HTTP API", agent_api, _agent_seeds),)
