"""Serves the example page of a business system.

As in a real one, the page comes from elsewhere than the agent, and its server gives it the token: the page itself holds none.
Loopback only. Called by the demo.
"""

from __future__ import annotations

import json
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.base import RequestResponseEndpoint

from host_agent.api.events import SDK

STATIC = Path(__file__).resolve().parent / "static"


def make_app(agent_url: str, agent_token: str, port: int) -> FastAPI:
    """Return the page's server."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    policy = f"default-src 'self'; connect-src {agent_url}; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
    settings = f"var AGENT = {json.dumps({'url': agent_url, 'token': agent_token})};\n"

    @app.middleware("http")
    async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.headers.get("host") not in hosts:
            return Response("只接受本机访问 this page answers on loopback only", 421)
        response = await call_next(request)
        response.headers["content-security-policy"] = policy
        response.headers["cache-control"] = "no-store"
        response.headers["cross-origin-resource-policy"] = "same-origin"  # the token below is for this page alone
        return response

    @app.get("/settings.js")
    def its_settings() -> Response:
        return Response(settings, media_type="text/javascript")

    @app.get("/sdk.js")
    def sdk() -> FileResponse:
        return FileResponse(SDK)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/", StaticFiles(directory=STATIC), name="static")
    return app
