"""The local API itself: a thin layer of FastAPI over the agent's desk.

Every request becomes one call in the agent's thread. Nothing here decides anything; errors of the desk become JSON with a
stable word and a sentence. The document that describes it is docs/openapi.json, made from here.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from host_agent import AGENT_VERSION
from host_agent.agent import Agent
from host_agent.api.evaluations import add_evaluations, add_follow_up
from host_agent.api.events import add_events
from host_agent.api.free_ratings import add_free_ratings
from host_agent.api.guard import OPENAPI_PATH, Guard
from host_agent.api.models import ErrorAnswer
from host_agent.api.show import Show
from host_agent.api.stream import Streams
from host_agent.api.window import add_window
from host_agent.config import ApiConfig
from host_agent.errors import RequestError

log = logging.getLogger("agent.api")

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer, "description": words}
    for code, words in {
        400: "no request that can be read",
        401: "the token is missing or wrong",
        403: "the page's origin is not on the list",
        404: "there is no such thing",
        405: "not with this method",
        409: "the device refuses, or the key or the rating has another case already",
        413: "the body is larger than 64 KiB",
        421: "asked under a name that is not this PC's",
        422: "a field is wrong; the sentence names it",
        503: "no device, no database, or too many listeners",
        504: "the device does not answer in time",
    }.items()
}


def make_app(agent: Agent, token: str, settings: ApiConfig, streams: Streams | None = None) -> FastAPI:
    """Return the ASGI application; no documentation pages, which would load scripts from elsewhere."""
    app = FastAPI(
        title="评价器代理程序 Rating agent",
        version=AGENT_VERSION,
        summary="一件事一次评价 One evaluation for each matter handled. An answer says that the citizen has rated, never how.",
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
        redirect_slashes=False,  # the redirection reads the query as UTF-8 and fails on any other
    )
    show = Show(agent, settings)
    app.add_middleware(Guard, token=token, origins=settings.origins)
    _errors(app, agent)
    add_evaluations(app, agent, show)
    add_follow_up(app, agent, settings)
    add_events(app, streams or Streams(agent, show))
    add_free_ratings(app, agent)
    add_window(app, agent)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # the way that FastAPI documents
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the token that every path asks for."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        document["components"]["securitySchemes"] = {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "数据目录中 api-token 文件的内容 the content of that file",
            }
        }
        document["security"] = [{"token": []}]
        document["servers"] = [{"url": "http://127.0.0.1:17610"}]
        app.openapi_schema = document
    return app.openapi_schema


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that a path is there for; each is a route of its own."""
    routes = [route for route in app.routes if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE]
    return sorted(method for route in routes for method in route.methods or ())


def _errors(app: FastAPI, agent: Agent) -> None:
    def answer(status: int, code: str, text: str) -> JSONResponse:
        return JSONResponse({"error": code, "message": text}, status)

    @app.exception_handler(RequestError)
    async def refused(_request: Request, error: RequestError) -> JSONResponse:
        return answer(error.status, error.code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        agent.count("api_requests_invalid")
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        # never the value, nor a name that the caller made up: whatever they are, the log is no place for them
        told = "" if first["type"] == "extra_forbidden" else where
        log.warning("接口请求有误 %s %s refused: %s %s", request.method, request.scope["route"].path, first["type"], told)
        return answer(422, "invalid", f"请求有误 {where}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        word = {404: "not_found", 405: "method"}.get(error.status_code, "request")
        done = answer(error.status_code, word, f"请求有误 {error.detail}; see {OPENAPI_PATH}")
        if error.status_code == 405:
            done.headers["Allow"] = ", ".join(_methods(app, request))
        return done

    @app.exception_handler(TimeoutError)
    async def late(_request: Request, _error: TimeoutError) -> JSONResponse:
        return answer(504, "no_answer", "评价器没有及时应答，请检查连线 no answer from the device in time; check the cable")

    @app.exception_handler(sqlite3.Error)
    async def store(_request: Request, error: sqlite3.Error) -> JSONResponse:
        return answer(503, "store", f"数据库无法写入，请检查磁盘 the database cannot be written; check the disk: {error}")
