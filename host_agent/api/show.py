"""Waiting for the agent, and showing an evaluation as this hall allows: with its level only where that is switched on."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

from host_agent.agent import Agent
from host_agent.api.models import EvaluationAnswer, EvaluationWithLevel, LevelName
from host_agent.config import ApiConfig
from host_agent.evaluations import Evaluation, EvaluationState

T = TypeVar("T")

ANSWER_WITHIN_S = 10.0
"""More than the link needs to give up a sign-in and then an opening, four seconds each."""


async def soon(future: Future[T]) -> T:
    """Wait for the agent, or for the device's answer, which the link gives up on by itself after a few seconds."""
    return await asyncio.wait_for(asyncio.wrap_future(future), ANSWER_WITHIN_S)


class Show:
    """Turns evaluations into answers; `model` is their form in this hall."""

    def __init__(self, agent: Agent, settings: ApiConfig) -> None:
        self._agent = agent
        self._settings = settings
        self.model = EvaluationWithLevel if settings.show_level else EvaluationAnswer

    async def __call__(self, evaluation: Evaluation) -> EvaluationAnswer:
        """Return what may be told of an evaluation."""
        if not self._settings.show_level:
            return EvaluationAnswer.of(evaluation, self._settings)
        level = None
        if evaluation.state is EvaluationState.RATED:
            level = await soon(self._agent.call(lambda desk, _now: desk.level(evaluation.id)))
        return EvaluationWithLevel.of(evaluation, self._settings, level=LevelName[level.name] if level is not None else None)
