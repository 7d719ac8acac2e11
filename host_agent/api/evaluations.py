"""Opening, watching and withdrawing evaluations over HTTP. Called by api/app."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import Future
from typing import Annotated, Literal

import segno
from fastapi import FastAPI, Header, Path, Query, Request, Response

from host_agent.agent import Agent
from host_agent.api.models import EvaluationAnswer, OpenBody
from host_agent.api.show import Show, soon
from host_agent.config import ApiConfig
from host_agent.errors import RequestError
from host_agent.evaluations import Evaluation

LONGEST_POLL_S = 60.0
_IMAGES = {"svg": "image/svg+xml", "png": "image/png"}
EvaluationId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


def add_evaluations(app: FastAPI, agent: Agent, show: Show) -> None:
    """Add the routes."""

    @app.post("/v1/evaluations", status_code=201, response_model=show.model, summary="邀请评价 Open an evaluation")
    async def open_evaluation(
        body: OpenBody, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=100)] = None
    ) -> EvaluationAnswer:
        """Open one evaluation. The same Idempotency-Key again returns the same evaluation; another open one is superseded."""
        case = body.case.case() if body.case is not None else None
        asked = agent.call(
            lambda desk, now: desk.open(case, body.timeout_s * 1000, body.language.code(), idempotency_key, body.staff, now)
        )
        return await show(await soon(await soon(asked)))

    @app.get("/v1/evaluations/{evaluation_id}", response_model=show.model, summary="查询评价 Read an evaluation")
    async def get_evaluation(
        request: Request,
        evaluation_id: EvaluationId,
        wait_s: Annotated[float, Query(ge=0, le=LONGEST_POLL_S)] = 0,
    ) -> EvaluationAnswer:
        """Return an evaluation; with `wait_s`, as soon as it has ended or that time is over."""
        if wait_s:
            await _wait(agent, request, evaluation_id, wait_s)
        return await show(await soon(agent.call(lambda desk, _now: desk.get(evaluation_id))))

    @app.delete("/v1/evaluations/{evaluation_id}", response_model=show.model, summary="撤回评价 Withdraw an evaluation")
    async def cancel_evaluation(evaluation_id: EvaluationId) -> EvaluationAnswer:
        """Withdraw an evaluation. One that was rated or has expired stays so; the answer says how it ended."""
        ended: Future[Evaluation] = await soon(agent.call(lambda desk, now: desk.cancel(evaluation_id, now)))
        return await show(await soon(ended))


def add_follow_up(app: FastAPI, agent: Agent, settings: ApiConfig) -> None:
    """Add the route of the QR code."""

    @app.get(
        "/v1/evaluations/{evaluation_id}/follow-up.{form}",
        response_class=Response,
        responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in _IMAGES.values()}}},
        summary="补充评价二维码 QR code of the follow-up page",
    )
    async def follow_up(evaluation_id: EvaluationId, form: Literal["svg", "png"]) -> Response:
        """Return the QR code of the page where the citizen may add reasons and words. The same for everybody, rated or not."""
        evaluation = await soon(agent.call(lambda desk, _now: desk.get(evaluation_id)))
        url = EvaluationAnswer.of(evaluation, settings).follow_up_url
        if url is None:
            raise RequestError(
                404, "no_follow_up", "本大厅没有补充评价页面 no follow-up page here: api.follow_up_url is not set"
            )
        image = io.BytesIO()
        segno.make(url, error="m").save(image, kind=form, scale=4, border=4, light="white")
        return Response(image.getvalue(), media_type=_IMAGES[form])


async def _wait(agent: Agent, request: Request, evaluation_id: str, wait_s: float) -> None:
    ended = await soon(agent.call(lambda desk, _now: desk.wait(evaluation_id)))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((asyncio.wrap_future(ended), gone), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not ended.done():
            agent.call(lambda desk, _now: desk.no_longer_waits(evaluation_id, ended))


async def _gone(request: Request) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
