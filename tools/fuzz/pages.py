"""The collector's pages and their API: any request is answered, in the documented shape, and never with a 500."""

from __future__ import annotations

import json

from collector.config import HttpConfig
from collector.ingest.core import Ingest, Message
from collector.ingest.counters import Counters
from collector.pages.app import make_app
from collector.pages.live import Live
from collector.store.database import memory_database
from tools.bench.paper import HALL, HALL_KEY, PaperDevice
from tools.fuzz.caller import Caller
from tools.fuzz.target import Check, Target, must


def pages() -> Check:
    """Any request to the collector's pages: an answer of the documented kind, never a 500, and nothing is written."""
    engine = memory_database()
    device = PaperDevice("PJ-0001", "07")
    taken = [Message(device.topic, device.payload(raw)) for raw in device.write(5)] + [Message("hcp/v1/x", b"<script>\xff")]
    Ingest(engine, {HALL: HALL_KEY}).take(taken, 1_780_000_000_000)
    live = Live(engine, Counters(), lambda: True)
    caller = Caller(make_app(live, HttpConfig()))
    usual = [(b"host", b"127.0.0.1:8700")]

    def check(data: bytes) -> None:
        if data.partition(b"\n")[0].partition(b"?")[0].strip().endswith(b"/events"):
            live.close()  # the stream has no other end
        method, path, status, headers, answer = caller.ask(data, usual)
        live.closed = False
        told = f"{method} {path!r} → {status} {answer[:200]!r}"
        must(status < 500, told)
        must(headers.get(b"x-content-type-options") == b"nosniff" and b"content-security-policy" in headers, told)
        if path.startswith("/api/") and not path.endswith(".csv") and method == "GET" and status != 403:
            must(headers[b"content-type"].startswith(b"application/json"), told)
            content = json.loads(answer)
            if path in ("/api/v1/ratings", "/api/v1/evidence") and status == 200:
                must(set(content) == {"items", "next"}, told)
                must(all(item.get("counts") is True for item in content["items"] if "counts" in item), told)
            must(status in (200, 404, 405, 422), told)

    return check


def _page_seeds() -> list[bytes]:
    paths = [
        "/", "/?embed=1", "/static/live.js", "/static/../app.py", "/api/v1/summary", "/api/v1/ratings?after=1&limit=2",
        "/api/v1/gaps", "/api/v1/evidence?after=0&limit=1000", "/api/v1/openapi.json", "/nothing",
        "/absences?from=2026-05-28&to=2026-05-29&opens=09:00&closes=17:00&place=533103", "/api/v1/absences?from=2026-05-28",
        "/api/v1/absences.csv",
    ]  # fmt: skip
    return [f"GET {path}".encode() for path in paths] + [
        b"GET /events\nlast-event-id: 3.1",
        b"GET /api/v1/summary\nhost: [::1]:8700",
        b"POST /api/v1/ratings\n\nx",
    ]


TARGETS = (Target("pages", "the collector's pages and API", pages, _page_seeds),)
