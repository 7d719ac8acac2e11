"""Who may ask, and what a browser may do with the answer.

A request must name a host that is ours: a foreign name that resolves to loopback (DNS rebinding) is refused. The page may load
nothing from elsewhere, and only the configured origins may put it into a frame. Wraps the application in pages/app.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.config import HttpConfig

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """ASGI middleware; refuses with 403 what does not name one of our hosts."""

    def __init__(self, app: ASGIApp, http: HttpConfig) -> None:
        self._app = app
        own = f"[{http.host}]" if ":" in http.host else http.host
        self._names = _LOOPBACK_NAMES | {own.lower()} | {name.lower() for name in http.host_names}
        ancestors = " ".join(http.embed_origins) or "'none'"
        self._headers = {
            "content-security-policy": (
                f"default-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors {ancestors}"
            ),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        if _name_of(Headers(scope=scope).get("host", "")) not in self._names:
            refusal = PlainTextResponse("主机名不允许 this host name is not allowed; see [http] host_names\n", status_code=403)
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def _name_of(host: str) -> str:
    """Return a Host header's name without its port; IPv6 keeps its brackets."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host.lower()
