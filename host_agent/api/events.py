"""The event streams over HTTP: server-sent events and WebSocket. Called by api/app.

The address of a stream says what it is about; the events themselves are api/stream's. A WebSocket of a browser cannot carry an
Authorization header, so it may bring the token as a subprotocol (api/guard looks at that).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, WebSocket
from fastapi.responses import FileResponse, StreamingResponse

from host_agent.api.evaluations import EvaluationId
from host_agent.api.guard import SDK_PATH, SUBPROTOCOL
from host_agent.api.stream import Happened, Streams
from host_agent.errors import RequestError

SDK = Path(__file__).resolve().parent / "static" / "sdk.js"
RETRY_MS = 2000
_TRY_LATER = 1013
_SSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "事件流 Events until the caller goes: lines `id`, `event`, `data` (JSON).",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def add_events(app: FastAPI, streams: Streams) -> None:
    """Add the routes."""

    @app.get(SDK_PATH, response_class=FileResponse, include_in_schema=False)
    async def sdk() -> FileResponse:
        """Return the file that pages use to call all this."""
        return FileResponse(SDK, media_type="text/javascript")

    @app.get("/v1/events", response_class=StreamingResponse, responses=_SSE, summary="窗口事件流 Events of the window")
    async def window_events(last_event_id: Annotated[str | None, Header(max_length=100)] = None) -> StreamingResponse:
        """Tell everything that happens at the window, beginning with how things are, or after `Last-Event-ID`.

        Events: `window` (staff, paused, device), `evaluation` (as in its answer), `free_rating` (device, seq, at_ms, staff).
        """
        return _answer(await streams.window(last_event_id))

    @app.get("/v1/trace", response_class=StreamingResponse, responses=_SSE, summary="线路跟踪 Frames on the line")
    async def trace() -> StreamingResponse:
        """Tell every frame between agent and device in words, and the events of the window: what `agent tail` shows.

        Events: those of `/v1/events`, and `frame` (text).
        """
        return _answer(await streams.trace())

    @app.get(
        "/v1/evaluations/{evaluation_id}/events",
        response_class=StreamingResponse,
        responses=_SSE,
        summary="评价事件流 Events of one evaluation",
    )
    async def evaluation_events(evaluation_id: EvaluationId) -> StreamingResponse:
        """Tell how an evaluation is, whenever that changes, and end when it has ended. Events: `evaluation`."""
        return _answer(await streams.evaluation(evaluation_id))

    @app.websocket("/v1/ws")
    async def web_socket(socket: WebSocket, last_event_id: str | None = None) -> None:
        """Send the events of the window as JSON: `{"id": …, "event": …, "data": …}`; what is sent here is not read."""
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        try:
            events = await streams.window(last_event_id)
        except RequestError as error:
            await socket.close(_TRY_LATER, error.code)
            return
        tasks = [asyncio.create_task(_send(socket, events)), asyncio.create_task(_gone(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await events.aclose()


async def _send(socket: WebSocket, events: AsyncGenerator[Happened | None, None]) -> None:
    async for event in events:
        if event is not None:
            await socket.send_text(event.as_message())
    await socket.close(_TRY_LATER, "end")


async def _gone(socket: WebSocket) -> None:
    """Return when the caller has gone; what it sends is not read."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _answer(events: AsyncGenerator[Happened | None, None]) -> StreamingResponse:
    return StreamingResponse(_lines(events), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _lines(events: AsyncGenerator[Happened | None, None]) -> AsyncIterator[str]:
    async with contextlib.aclosing(events):
        yield f"retry: {RETRY_MS}\n\n"
        async for event in events:
            yield event.as_sse() if event is not None else ": \n\n"
