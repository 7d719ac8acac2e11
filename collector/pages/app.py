"""The application: the live page, those of windows and absences, their files, the read-only API and the event stream.

Everything is GET and answers from the reading side of the store. Made by service; tests make it over a store of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.types import ASGIApp

from collector.config import HttpConfig
from collector.pages import events
from collector.pages.absences import add_absences
from collector.pages.guard import Guard
from collector.pages.live import Cursor, Live
from collector.pages.windows import add_windows
from collector.store import ratings
from collector.store.trouble import sentence
from protocol.levels import Level

_HERE = Path(__file__).parent
_STATIC = {"live.css": "text/css", "absences.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""Our files and their types: Windows' own table may call JavaScript text/plain, and browsers then refuse it."""
_ENGLISH = {
    Level.VERY_SATISFIED: "very satisfied",
    Level.SATISFIED: "satisfied",
    Level.BASICALLY_SATISFIED: "basically satisfied",
    Level.DISSATISFIED: "dissatisfied",
    Level.VERY_DISSATISFIED: "very dissatisfied",
}
Position = Annotated[int, Query(ge=0, lt=1 << 63)]
Limit = Annotated[int, Query(ge=1, le=1000)]


def make_app(live: Live, http: HttpConfig) -> ASGIApp:
    """Return the guarded application over the reading side `live`."""
    app = FastAPI(
        title="好差评归集 Collector",
        version="1",
        docs_url=None,  # the interactive documentation would load its scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        redirect_slashes=False,  # the redirection reads the query as UTF-8 and fails on any other
    )
    environment = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=select_autoescape())
    page = _page(environment)

    @app.exception_handler(sa.exc.DBAPIError)
    def unavailable(_request: Request, error: sa.exc.DBAPIError) -> JSONResponse:
        """Say that the database is away; the records wait at the broker and the windows."""
        return JSONResponse({"detail": sentence(error)}, 503, headers={"retry-after": "10"})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def live_page(embed: bool = False) -> str:
        """Show ratings as they arrive; `embed` leaves out the page's header."""
        return page(embed)

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        """Serve one of our files."""
        if name not in _STATIC:
            raise HTTPException(404)
        return Response((_HERE / "static" / name).read_bytes(), media_type=_STATIC[name])

    @app.get("/api/v1/summary")
    def summary() -> dict[str, Any]:
        """Return counts by level, windows, devices, what waits where, evidence and gap counts."""
        return live.summary()

    @app.get("/api/v1/ratings")
    def all_ratings(after: Position = 0, limit: Limit = 100) -> dict[str, Any]:
        """Return ratings in the order of arrival; `next` is the `after` of the next page. `counts` tells what is replaced."""
        with live.connect() as connection:
            items = ratings.entries(connection, after, limit, ("rating",))
        return {"items": items, "next": items[-1]["position"] if items else after}

    @app.get("/api/v1/gaps")
    def all_gaps() -> dict[str, Any]:
        """Return the records that are missing, by device."""
        with live.connect() as connection:
            return {"items": [asdict(gap) for gap in ratings.gaps(connection)]}

    @app.get("/api/v1/evidence")
    def all_evidence(after: Position = 0, limit: Limit = 100) -> dict[str, Any]:
        """Return what arrived and was not simply stored, oldest first."""
        with live.connect() as connection:
            items = ratings.evidence_after(connection, after, limit)
        return {"items": items, "next": items[-1]["id"] if items else after}

    @app.get("/events")
    async def event_stream(_: Request, last_event_id: Annotated[str, Header()] = "") -> StreamingResponse:
        """Stream what is new; resumes after the browser's Last-Event-ID."""
        if live.readers >= events.MOST_READERS:
            raise HTTPException(503, "too many open event streams", headers={"retry-after": "30"})
        return StreamingResponse(events.stream(live, Cursor.parse(last_event_id)), media_type="text/event-stream")

    add_absences(app, live, environment)
    add_windows(app, live, environment)
    return Guard(app, http)


def _page(environment: Environment) -> Callable[[bool], str]:
    template = environment.get_template("live.html")
    levels = [
        {"word": level.word, "number": level.value, "chinese": level.chinese, "english": _ENGLISH[level]}
        for level in sorted(Level, reverse=True)
    ]
    return lambda embed: template.render(levels=levels, embed=embed)
