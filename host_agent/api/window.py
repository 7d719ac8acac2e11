"""Staff, pause, voice and status over HTTP. Called by api/app."""

from __future__ import annotations

from fastapi import FastAPI

from host_agent.agent import Agent
from host_agent.api.models import PauseBody, PromptBody, StaffBody, TextBody
from host_agent.api.show import soon
from host_agent.report import StatusReport
from protocol.messages import Prompt


def add_window(app: FastAPI, agent: Agent) -> None:
    """Add the routes."""

    @app.put("/v1/staff", status_code=204, summary="工作人员签到 Sign in")
    async def sign_in(body: StaffBody) -> None:
        """Name who serves at this window from now on."""
        await soon(await soon(agent.call(lambda desk, now: desk.sign_in(body.staff, now))))

    @app.delete("/v1/staff", status_code=204, summary="工作人员签退 Sign out")
    async def sign_out() -> None:
        """Nobody serves at this window any more."""
        await soon(await soon(agent.call(lambda desk, now: desk.sign_out(now))))

    @app.put("/v1/pause", status_code=204, summary="暂停服务 Pause")
    async def pause(body: PauseBody) -> None:
        """The window stops serving for a while."""
        await soon(await soon(agent.call(lambda desk, now: desk.pause(body.reason.code(), now))))

    @app.delete("/v1/pause", status_code=204, summary="恢复服务 Resume")
    async def resume() -> None:
        """The window serves again."""
        await soon(await soon(agent.call(lambda desk, now: desk.resume(now))))

    @app.post("/v1/voice", status_code=204, summary="语音 Speak")
    async def speak(body: PromptBody | TextBody) -> None:
        """Speak to the citizen. A request whose answer is lost is repeated, so it may be heard twice."""
        prompt, number = (body.prompt.code(), 0) if isinstance(body, PromptBody) else (Prompt.TEXT, body.text)
        await soon(await soon(agent.call(lambda desk, now: desk.say(prompt, number, body.language.code(), now))))

    @app.get("/v1/status", summary="状态 Status")
    async def status() -> StatusReport:
        """Return the agent's state."""
        return await soon(agent.status())
