"""Serves the demo's page and carries clicks to the simulated device.

The page calls the agent's API directly, as a business system's page does, and shows the collector's own live page in a frame. Only
what a hand does at the counter comes here: buttons, cable, power. Loopback only; a changing request needs a header that no
other site's page can send.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint

from simulator.device.simulated import SimulatedDevice

STATIC = Path(__file__).resolve().parent / "static"
KEEPALIVE_S = 10.0
GUARD_HEADER = "x-panel"


class KeysBody(BaseModel):
    """Which buttons are down: bit 0 非常满意 to bit 4 非常不满意."""

    mask: Annotated[int, Field(ge=0, le=31)]


@dataclass(frozen=True)
class Links:
    """Where the page finds the other two programs."""

    agent_url: str
    agent_token: str
    collector_url: str


class PanelState:
    """What the device shows, and who wants to hear of changes; written from the device's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown = {"lamps": 0, "power": 0, "cable": 0}
        self._readers: list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[str | None]]] = []

    def tell(self, word: str, number: int) -> None:
        """Note a change and pass it on; the listener of a SimulatedDevice."""
        with self._lock:
            if word in self._shown:
                self._shown[word] = number
            line = json.dumps({word: number})
            for loop, queue in self._readers:
                loop.call_soon_threadsafe(queue.put_nowait, line)

    async def follow(self) -> AsyncIterator[str]:
        """Yield server-sent events: the state as it is, then every change, until `close`."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        reader = (asyncio.get_running_loop(), queue)
        with self._lock:
            queue.put_nowait(json.dumps(self._shown))
            self._readers.append(reader)
        try:
            while True:
                try:
                    line = await asyncio.wait_for(queue.get(), KEEPALIVE_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if line is None:
                    return
                yield f"data: {line}\n\n"
        finally:
            with self._lock:
                self._readers.remove(reader)

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        with self._lock:
            for loop, queue in self._readers:
                loop.call_soon_threadsafe(queue.put_nowait, None)


def make_app(device: SimulatedDevice, state: PanelState, links: Links, port: int) -> FastAPI:
    """Return the page's server."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    policy = (
        f"default-src 'self'; connect-src 'self' {links.agent_url}; frame-src {links.collector_url}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    @app.middleware("http")
    async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.headers.get("host") not in hosts:
            return Response("只接受本机访问 this page answers on loopback only", 421)
        if request.method != "GET" and request.headers.get(GUARD_HEADER) != "1":
            return Response("缺少页面标记 the request does not come from the page", 403)
        response = await call_next(request)
        response.headers["content-security-policy"] = policy
        response.headers["cache-control"] = "no-store"
        return response

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/links")
    def where() -> dict[str, str]:
        return {"agent": links.agent_url, "token": links.agent_token, "collector": links.collector_url}

    @app.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(state.follow(), media_type="text/event-stream")

    @app.put("/device/keys", status_code=204)
    def keys(body: KeysBody) -> None:
        device.keys(body.mask)

    @app.post("/device/{action}", status_code=204)
    def act(action: str) -> None:
        actions = {"unplug": device.unplug, "cut-power": device.cut_power, "plug-in": device.plug_in}
        if action not in actions:
            raise HTTPException(404, "unplug, cut-power or plug-in")
        actions[action]()

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
