"""Sends requests to an application in this process, without a server: what a server would refuse itself comes through as well."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp
from starlette.types import Message as AsgiMessage

from tools.fuzz.target import must


class Caller:
    """Sends one request after another to an application, in one loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def ask(self, data: bytes, usual: list[tuple[bytes, bytes]]) -> tuple[str, str, int, dict[bytes, bytes], bytes]:
        """Send what `data` says: a line of method and target, lines of headers, an empty line, the body."""
        head, _, body = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, target = first.partition(b" ")
        path, _, query = target.partition(b"?")
        headers = [
            (name.strip().lower(), value.strip()) for name, colon, value in (one.partition(b":") for one in lines) if colon
        ]
        named = {name for name, _ in headers}
        headers += [(name, value) for name, value in usual if name not in named]
        word = "".join(chr(byte) for byte in method if 65 <= byte <= 90) or "GET"
        text = "/" + unquote_to_bytes(path).decode("utf-8", "replace").lstrip("/")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": word, "scheme": "http",
            "path": text, "raw_path": path, "query_string": query, "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 17610), "state": {},
        }  # fmt: skip
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[AsgiMessage] = []

        async def receive() -> AsgiMessage:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: AsgiMessage) -> None:
            sent.append(message)

        async def run() -> None:
            await asyncio.wait_for(self._app(scope, receive, send), 20)

        self._loop.run_until_complete(run())
        must(bool(sent) and sent[0]["type"] == "http.response.start", "no answer")
        answer = b"".join(message.get("body", b"") for message in sent[1:])
        return word, text, int(sent[0]["status"]), dict(sent[0]["headers"]), answer
