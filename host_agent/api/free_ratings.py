"""Ratings that nobody was asked for, and naming their case afterwards, over HTTP. Called by api/app."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Query

from host_agent.agent import Agent
from host_agent.api.models import CaseBody, FreeRatingAnswer
from host_agent.api.show import soon


def add_free_ratings(app: FastAPI, agent: Agent) -> None:
    """Add the routes."""

    @app.get("/v1/free-ratings", summary="未关联办件的评价 Ratings without a case")
    async def free_ratings(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[FreeRatingAnswer]:
        """Return the latest ratings that nobody was asked for, the latest first."""
        found = await soon(agent.call(lambda desk, _now: desk.free_ratings.recent(limit)))
        return [FreeRatingAnswer.of(rating) for rating in found]

    @app.put("/v1/free-ratings/{device}/{seq}/case", summary="补登办件 Name the case of a rating")
    async def name_case(
        device: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,16}$")],
        seq: Annotated[int, Path(ge=1, le=0xFFFFFFFF)],
        body: CaseBody,
    ) -> FreeRatingAnswer:
        """Name the case of a rating that was given without one. The same case again changes nothing; another one is refused."""
        case = body.case()
        return FreeRatingAnswer.of(
            await soon(agent.call(lambda desk, now: desk.free_ratings.name_case(device, seq, case, desk.staff, now)))
        )
