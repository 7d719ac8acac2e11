"""Who may call the local API: this PC, a known page, with the token.

Five checks, in this order: the Host header must name loopback (a page elsewhere that points its own name here is refused), an
Origin must be on the list, a pre-flight of a listed page is answered (also for Chrome's access from public pages), everything
but the OpenAPI document and the SDK needs the token, and a body has an end, whatever its Content-Length says. A WebSocket
passes the same checks; a browser, which cannot send a header with one, brings the token as the subprotocol `bearer.TOKEN`.
"""

from __future__ import annotations

import json
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMES = ("127.0.0.1", "localhost", "[::1]")
OPENAPI_PATH = "/v1/openapi.json"
SDK_PATH = "/v1/sdk.js"
SUBPROTOCOL = "hcp.v1"
_BEARER = "bearer."
_OPEN_PATHS = (OPENAPI_PATH, SDK_PATH)
_MOST_BODY_BYTES = 64 * 1024
_MOST_LENGTH_DIGITS = 9
_TOO_LARGE = (413, "too_large", "请求过大 the body is larger than 64 KiB")


class Guard:
    """ASGI middleware; `token` is compared in constant time and never logged. None: this port asks for none."""

    def __init__(self, app: ASGIApp, token: str | None, origins: list[str]) -> None:
        self._app = app
        self._token = token
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if origin in self._origins else None
        refusal = self._refusal(scope, headers, origin)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await _refuse_socket(scope, send, *refusal, allowed)
            return
        if refusal is not None:
            await _answer(send, *refusal, allowed)
            return
        if scope["method"] == "OPTIONS" and allowed is not None:
            await _preflight(send, allowed, asks_private=headers.get("access-control-request-private-network") == "true")
            return
        body = await _body(receive)
        if body is None:
            await _answer(send, *_TOO_LARGE, allowed)
            return
        bodies = [body]

        async def with_body() -> Message:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(), "more_body": False}
            return await receive()

        async def with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                cors = _cors(allowed) if allowed is not None else []
                message["headers"] = [*message.get("headers", []), (b"cache-control", b"no-store"), *cors]
            await send(message)

        await self._app(scope, with_body, with_cors)

    def _refusal(self, scope: Scope, headers: Headers, origin: str | None) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if (host if host.endswith("]") else host.rsplit(":", 1)[0]).lower() not in _NAMES:
            return 421, "host", "只接受本机访问 this API answers to 127.0.0.1 and localhost only"
        if origin is not None and origin not in self._origins:
            return 403, "origin", f"页面来源未被允许，请加入 api.origins this origin is not allowed; add it: {origin[:100]}"
        if self._token is None or scope.get("method") == "OPTIONS" or scope["path"] in _OPEN_PATHS:
            return None
        if not secrets.compare_digest(given_token(scope, headers).encode(), self._token.encode()):
            return 401, "token", "缺少或错误的令牌 the token is missing or wrong: Authorization: Bearer …"
        length = headers.get("content-length", "0")
        # digits first: Python refuses to read a number of thousands of them
        if not length.isdecimal() or len(length) > _MOST_LENGTH_DIGITS or int(length) > _MOST_BODY_BYTES:
            return _TOO_LARGE
        return None


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body, None when it is too large or its sender has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > _MOST_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _cors(origin: str) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]


async def _preflight(send: Send, origin: str, *, asks_private: bool) -> None:
    headers = [
        *_cors(origin),
        (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
        (b"access-control-allow-headers", b"authorization, content-type, idempotency-key, last-event-id"),
        (b"access-control-max-age", b"600"),
    ]
    if asks_private:
        headers.append((b"access-control-allow-private-network", b"true"))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def given_token(scope: Scope, headers: Headers) -> str:
    """Return the token that the caller brings, empty without one."""
    word, _, token = headers.get("authorization", "").partition(" ")
    if word == "Bearer":
        return token
    if scope["type"] == "websocket":
        return next((one.removeprefix(_BEARER) for one in scope["subprotocols"] if one.startswith(_BEARER)), "")
    return ""


async def _refuse_socket(scope: Scope, send: Send, status: int, code: str, text: str, origin: str | None) -> None:
    """Refuse a WebSocket with an answer where the server can give one, else by closing it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": code})
        return

    async def as_socket(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await _answer(as_socket, status, code, text, origin)


async def _answer(send: Send, status: int, code: str, text: str, origin: str | None) -> None:
    body = json.dumps({"error": code, "message": text}, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if origin is not None:
        headers += _cors(origin)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
