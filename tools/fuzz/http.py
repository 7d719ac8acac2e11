"""The two HTTP interfaces: any request is answered, in the documented shape, and never with a 500."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import TypeAdapter
from starlette.types import ASGIApp
from starlette.types import Message as AsgiMessage

from collector.config import HttpConfig
from collector.ingest.core import Ingest, Message
from collector.ingest.counters import Counters
from collector.pages.app import make_app as make_pages
from collector.pages.live import Live
from collector.store.database import memory_database
from host_agent.api.app import make_app
from host_agent.api.models import ErrorAnswer, EvaluationAnswer
from host_agent.desk import Desk
from host_agent.instant import Instant
from host_agent.link.events import Answered
from host_agent.report import StatusReport
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from protocol.messages import Message as DeviceMessage
from tools.bench.paper import HALL, HALL_KEY, PaperDevice
from tools.fuzz.target import Check, Target, must

T = TypeVar("T")
_TOKEN = "t" * 32
_REPORT = StatusReport(
    agent="0", window="533103/bench/07", link="talking", port=None, link_trouble=None, device=None, firmware=None, boot=None,
    release_on_ack=False, staff=None, paused=False, conditions=[], journal_waiting=None, journal_free=None,
    broker_connected=False, broker_trouble=None, store_trouble=None, databases_set_aside=[], outbox_to_send=0, outbox_sent=0,
    oldest_waiting_ms=None, counters={},
)  # fmt: skip
_METHODS_WITHOUT_BODY = ("HEAD",)


class _PaperAgent:
    """Stands for an agent: a real desk and a real store, calls that run at once, and a device that carries everything out."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.is_talking = True
        self.trouble: str | None = None
        self._number = 0
        self._store = EvaluationStore(Writer(Path(self._folder.name)))
        self.desk = Desk(self, self._store, os.urandom)  # type: ignore[arg-type]  # it is the attachment as well

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


class _Caller:
    """Sends one request after another to an application, in one loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def ask(self, data: bytes, usual: list[tuple[bytes, bytes]]) -> tuple[str, str, int, dict[bytes, bytes], bytes]:
        """Send what `data` says: a line of method and target, lines of headers, an empty line, the body."""
        head, _, body = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, target = first.partition(b" ")
        path, _, query = target.partition(b"?")
        headers = [(name.strip().lower(), value.strip()) for name, colon, value in (one.partition(b":") for one in lines) if colon]
        named = {name for name, _ in headers}
        headers += [(name, value) for name, value in usual if name not in named]
        word = "".join(chr(byte) for byte in method if 65 <= byte <= 90) or "GET"
        text = "/" + unquote_to_bytes(path).decode("utf-8", "replace").lstrip("/")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": word, "scheme": "http",
            "path": text, "raw_path": path, "query_string": query, "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 17610), "state": {},
        }  # fmt: skip
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[AsgiMessage] = []

        async def receive() -> AsgiMessage:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: AsgiMessage) -> None:
            sent.append(message)

        async def run() -> None:
            await asyncio.wait_for(self._app(scope, receive, send), 20)

        self._loop.run_until_complete(run())
        must(bool(sent) and sent[0]["type"] == "http.response.start", "no answer")
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return word, text, int(sent[0]["status"]), dict(sent[0]["headers"]), answer


def agent_api() -> Check:
    """Any request to the agent's API: JSON of the documented shape, never a 500, never a level."""
    app = make_app(_PaperAgent(), _TOKEN, ["http://hall.example"])  # type: ignore[arg-type]  # a paper one
    documented = app.openapi()["paths"]
    caller = _Caller(app)
    usual = [(b"host", b"127.0.0.1:17610"), (b"authorization", b"Bearer " + _TOKEN.encode()), (b"content-type", b"application/json")]
    shapes: dict[str, TypeAdapter[Any]] = {"/v1/status": TypeAdapter(StatusReport)}
    evaluation = TypeAdapter(EvaluationAnswer)

    def check(data: bytes) -> None:
        method, path, status, headers, answer = caller.ask(data, usual)
        told = f"{method} {path!r} → {status} {answer[:200]!r}"
        must(status < 500 or status in (503, 504), told)
        if status in (204, 307) or path == "/openapi.json" or method in _METHODS_WITHOUT_BODY:
            return
        must(headers.get(b"content-type", b"").startswith(b"application/json"), told)
        content = json.loads(answer)
        if status >= 400:
            ErrorAnswer.model_validate(content, strict=True)
            must(set(content) == set(ErrorAnswer.model_fields), told)
        else:
            shapes.get(path, evaluation).validate_python(content, strict=False)
            must("level" not in content, told)
        template = "/v1/evaluations/{evaluation_id}" if path.startswith("/v1/evaluations/") else path
        known = documented.get(template, {}).get(method.lower())
        must(known is None or str(status) in known["responses"], f"an undocumented answer: {told}")

    return check


def pages() -> Check:
    """Any request to the collector's pages: an answer of the documented kind, never a 500, and nothing is written."""
    engine = memory_database()
    device = PaperDevice("PJ-0001", "07")
    taken = [Message(device.topic, device.payload(raw)) for raw in device.write(5)] + [Message("hcp/v1/x", b"<script>\xff")]
    Ingest(engine, {HALL: HALL_KEY}).take(taken, 1_780_000_000_000)
    live = Live(engine, Counters(), lambda: True)
    caller = _Caller(make_pages(live, HttpConfig()))
    usual = [(b"host", b"127.0.0.1:8700")]

    def check(data: bytes) -> None:
        if data.partition(b"\n")[0].partition(b"?")[0].strip().endswith(b"/events"):
            live.close()  # the stream has no other end
        method, path, status, headers, answer = caller.ask(data, usual)
        live.closed = False
        told = f"{method} {path!r} → {status} {answer[:200]!r}"
        must(status < 500, told)
        must(headers.get(b"x-content-type-options") == b"nosniff" and b"content-security-policy" in headers, told)
        if path.startswith("/api/") and method == "GET" and status != 307 and status != 403:
            must(headers[b"content-type"].startswith(b"application/json"), told)
            content = json.loads(answer)
            if path in ("/api/v1/ratings", "/api/v1/evidence") and status == 200:
                must(set(content) == {"items", "next"}, told)
                must(all(item.get("counts") is True for item in content["items"] if "counts" in item), told)
            must(status in (200, 404, 405, 422), told)

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
        b"GET /v1/status",
        b"GET /openapi.json",
        b"GET /v1/status\nauthorization: Bearer x\ncontent-length: 5\n\nhello",
        b"GET /v1/status\nhost: evil.example",
    ]


def _page_seeds() -> list[bytes]:
    paths = [
        "/", "/?embed=1", "/static/live.js", "/static/../app.py", "/api/v1/summary", "/api/v1/ratings?after=1&limit=2",
        "/api/v1/gaps", "/api/v1/evidence?after=0&limit=1000", "/api/v1/openapi.json", "/nothing",
    ]  # fmt: skip
    return [f"GET {path}".encode() for path in paths] + [
        b"GET /events\nlast-event-id: 3.1",
        b"GET /api/v1/summary\nhost: [::1]:8700",
        b"POST /api/v1/ratings\n\nx",
    ]


TARGETS = (
    Target("agent-api", "the agent's HTTP API", agent_api, _agent_seeds),
    Target("pages", "the collector's pages and API", pages, _page_seeds),
)
