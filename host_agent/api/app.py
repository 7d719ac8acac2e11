"""The local API itself: a thin layer of FastAPI over the agent's desk.

Every request becomes one call in the agent's thread. Nothing here decides anything; errors of the desk become JSON with a
stable word and a sentence.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import Future
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from host_agent import AGENT_VERSION
from host_agent.agent import Agent
from host_agent.api.guard import Guard
from host_agent.api.models import (
    ErrorAnswer,
    EvaluationAnswer,
    OpenBody,
    PauseBody,
    StaffBody,
)
from host_agent.errors import RequestError
from host_agent.evaluations import Evaluation
from host_agent.report import StatusReport

log = logging.getLogger("agent.api")

T = TypeVar("T")

ANSWER_WITHIN_S = 10.0
"""More than the link needs to give up a sign-in and then an opening, four seconds each."""
LONGEST_POLL_S = 60.0
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer} for code in (400, 401, 403, 404, 409, 413, 421, 422, 503, 504)
}

EvaluationId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


def make_app(agent: Agent, token: str, origins: list[str]) -> FastAPI:
    """Return the ASGI application; no documentation pages, which would load scripts from elsewhere."""
    app = FastAPI(
        title="评价器代理程序 rating agent",
        version=AGENT_VERSION,
        description="One evaluation per matter handled. An answer says that the citizen has rated, never how.",
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
        redirect_slashes=False,  # the redirection reads the query as UTF-8 and fails on any other
    )
    app.add_middleware(Guard, token=token, origins=origins)
    _errors(app, agent)
    _evaluations(app, agent)
    _window(app, agent)
    return app


async def _soon(future: Future[T]) -> T:
    """Wait for the device's answer, which the link gives up on by itself after a few seconds."""
    return await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_WITHIN_S)


async def _gone(request: Request) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _evaluations(app: FastAPI, agent: Agent) -> None:
    @app.post("/v1/evaluations", status_code=201)
    async def open_evaluation(
        body: OpenBody, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=100)] = None
    ) -> EvaluationAnswer:
        """Open one evaluation. The same Idempotency-Key again returns the same evaluation; another open one is superseded."""
        asked = agent.call(
            lambda desk, now: desk.open(
                body.case, body.timeout_s * 1000, body.language.code(), idempotency_key, body.staff, now
            )
        )
        return EvaluationAnswer.of(await _soon(await _soon(asked)))

    @app.get("/v1/evaluations/{evaluation_id}")
    async def get_evaluation(
        request: Request,
        evaluation_id: EvaluationId,
        wait_s: Annotated[float, Query(ge=0, le=LONGEST_POLL_S)] = 0,
    ) -> EvaluationAnswer:
        """Return an evaluation; with `wait_s`, as soon as it has ended or that time is over."""
        if wait_s:
            ended = await _soon(agent.call(lambda desk, _now: desk.wait(evaluation_id)))
            gone = asyncio.ensure_future(_gone(request))
            try:
                await asyncio.wait((asyncio.wrap_future(ended), gone), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                if not ended.done():
                    agent.call(lambda desk, _now: desk.no_longer_waits(evaluation_id, ended))
        return EvaluationAnswer.of(await _soon(agent.call(lambda desk, _now: desk.get(evaluation_id))))

    @app.delete("/v1/evaluations/{evaluation_id}")
    async def cancel_evaluation(evaluation_id: EvaluationId) -> EvaluationAnswer:
        """Withdraw an evaluation. One that was rated or has expired stays so; the answer says how it ended."""
        ended: Future[Evaluation] = await _soon(agent.call(lambda desk, now: desk.cancel(evaluation_id, now)))
        return EvaluationAnswer.of(await _soon(ended))


def _window(app: FastAPI, agent: Agent) -> None:
    @app.put("/v1/staff", status_code=204)
    async def sign_in(body: StaffBody) -> None:
        """Name who serves at this window from now on."""
        await _soon(await _soon(agent.call(lambda desk, now: desk.sign_in(body.staff, now))))

    @app.delete("/v1/staff", status_code=204)
    async def sign_out() -> None:
        """Nobody serves at this window any more."""
        await _soon(await _soon(agent.call(lambda desk, now: desk.sign_out(now))))

    @app.put("/v1/pause", status_code=204)
    async def pause(body: PauseBody) -> None:
        """The window stops serving for a while."""
        await _soon(await _soon(agent.call(lambda desk, now: desk.pause(body.reason.code(), now))))

    @app.delete("/v1/pause", status_code=204)
    async def resume() -> None:
        """The window serves again."""
        await _soon(await _soon(agent.call(lambda desk, now: desk.resume(now))))

    @app.get("/v1/status")
    async def status() -> StatusReport:
        """Return the agent's state."""
        return await _soon(agent.status())


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
    async def other(_request: Request, error: HTTPException) -> JSONResponse:
        word = {404: "not_found", 405: "method"}.get(error.status_code, "request")
        return answer(error.status_code, word, f"请求有误 {error.detail}; see /openapi.json")

    @app.exception_handler(TimeoutError)
    async def late(_request: Request, _error: TimeoutError) -> JSONResponse:
        return answer(504, "no_answer", "评价器没有及时应答，请检查连线 no answer from the device in time; check the cable")

    @app.exception_handler(sqlite3.Error)
    async def store(_request: Request, error: sqlite3.Error) -> JSONResponse:
        return answer(503, "store", f"数据库无法写入，请检查磁盘 the database cannot be written; check the disk: {error}")
