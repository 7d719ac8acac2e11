"""Serving the local API from a thread, and its token (shell)."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from host_agent.agent import Agent
from host_agent.api.app import make_app
from host_agent.api.compatibility import make_compatible
from host_agent.api.guard import given_token
from host_agent.api.metrics import TOKEN_FILE as METRICS_TOKEN_FILE
from host_agent.api.metrics import Metrics
from host_agent.api.show import Show
from host_agent.api.stream import Streams
from host_agent.api.where import HOST, PORT_FILE, TOKEN_FILE
from host_agent.config import ApiConfig
from host_agent.errors import AgentError

log = logging.getLogger("agent.api")

LEAST_TOKEN = 20
MOST_MESSAGE_BYTES = 64 * 1024


def read_or_make_token(folder: Path, name: str = TOKEN_FILE) -> str:
    """Return the token kept in `folder` under a name, made at the first start and readable by its owner only.

    A group may be given the right to read it; a token that everybody can read is told of, one that is cut short replaced.
    """
    path = folder / name
    try:
        token = path.read_text(encoding="ascii").strip()
        if len(token) >= LEAST_TOKEN:
            if os.name == "posix" and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
                log.warning("令牌文件对他人开放 the token file is open to others: chmod 640 %s, or 600", path)
            return token
        path.unlink()
    except FileNotFoundError:
        pass
    token = secrets.token_urlsafe(24)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def _listen(port: int, key: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":  # there SO_REUSEADDR would let another program take the port over
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise AgentError(f"端口 {port} 已被占用，请修改 {key} port is in use ({error.strerror}); change {key}") from error
    return listener


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Served:
    """One window: its agent, the folder of its token, its settings. Port, origins and metrics are the first window's."""

    agent: Agent
    folder: Path
    settings: ApiConfig


def _by_port(app: ASGIApp, others: Mapping[int, ASGIApp]) -> ASGIApp:
    """Return an application that is another one on some ports and `app` everywhere else."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        port = (scope.get("server") or (None, None))[1]
        await others.get(port or 0, app)(scope, receive, send)

    return dispatch


def _by_token(apps: Sequence[tuple[str, ASGIApp]]) -> ASGIApp:
    """Return an application that is each window's for who brings that window's token, and the first one for everybody else."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = apps[0][1]
        if scope["type"] != "lifespan":
            given = given_token(scope, Headers(scope=scope)).encode()
            for token, app in apps:
                if secrets.compare_digest(given, token.encode()):
                    chosen = app
        await chosen(scope, receive, send)

    return dispatch


class _Server(uvicorn.Server):
    """Ends the event streams first, so that stopping does not wait for whoever listens."""

    def __init__(self, config: uvicorn.Config, streams: Sequence[Streams]) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything."""
        for streams in self._streams:
            streams.close()
        await super().shutdown(sockets)


class ApiServer:
    """uvicorn on loopback; the port is bound before anything else starts, so that a taken one is an error at once.

    Several windows share it: the token says which window's API it is that answers.
    """

    def __init__(self, windows: Sequence[Served]) -> None:
        first = windows[0]
        self._sockets = [_listen(first.settings.port, "api.port")]
        self.port = _port(self._sockets[0])
        streams = [Streams(one.agent, Show(one.agent, one.settings)) for one in windows]
        compatible: dict[int, ASGIApp] = {}
        try:
            app = self._app(windows, streams)
            for one in windows:
                if one.settings.compatibility_port is not None:
                    self._sockets.append(_listen(one.settings.compatibility_port, "api.compatibility_port"))
                    compatible[_port(self._sockets[-1])] = make_compatible(one.agent, one.settings)
        except AgentError:
            self._close()
            raise
        except (OSError, UnicodeDecodeError) as error:
            self._close()
            raise AgentError(f"数据目录不可写 {first.folder}: {error} the token cannot be kept; check the folder") from error
        self.compatibility_ports = list(compatible)
        """The ports for calls in the form of older evaluators, of the windows that have one."""
        config = uvicorn.Config(
            _by_port(app, compatible),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            ws_max_size=MOST_MESSAGE_BYTES,
        )
        self._server = _Server(config, streams)
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), name="api", daemon=True)

    def _app(self, windows: Sequence[Served], streams: Sequence[Streams]) -> ASGIApp:
        first = windows[0]
        apps: list[tuple[str, ASGIApp]] = []
        for one, its_streams in zip(windows, streams, strict=True):
            token = read_or_make_token(one.folder)
            if any(token == other for other, _ in apps):
                raise AgentError(
                    f"令牌与本机另一窗口相同，请改用不同的令牌 {one.folder / TOKEN_FILE}: another window of this PC has the same "
                    "token, and it is the token that says which window is meant; give each its own"
                )
            apps.append((token, make_app(one.agent, token, one.settings, its_streams)))
            (one.folder / PORT_FILE).write_text(str(self.port), encoding="ascii")
        app = _by_token(apps) if len(apps) > 1 else apps[0][1]
        if first.settings.metrics:
            app = Metrics(app, [one.agent for one in windows], read_or_make_token(first.folder, METRICS_TOKEN_FILE))
        return app

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://{HOST}:{self.port}"

    def _close(self) -> None:
        for listener in self._sockets:
            listener.close()

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; a long poll is cut off after a second."""
        self._server.should_exit = True
        self._thread.join(5.0)
