"""Serving the local API from a thread, and its token (shell)."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import stat
import sys
import threading
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from host_agent.agent import Agent
from host_agent.api.app import make_app
from host_agent.api.compatibility import make_compatible
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


def _by_port(app: ASGIApp, other_port: int, other: ASGIApp) -> ASGIApp:
    """Return an application that is `other` on one port and `app` everywhere else."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = other if (scope.get("server") or (None, None))[1] == other_port else app
        await chosen(scope, receive, send)

    return dispatch


class _Server(uvicorn.Server):
    """Ends the event streams first, so that stopping does not wait for whoever listens."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything."""
        self._streams.close()
        await super().shutdown(sockets)


class ApiServer:
    """uvicorn on loopback; the port is bound before anything else starts, so that a taken one is an error at once."""

    def __init__(self, agent: Agent, folder: Path, settings: ApiConfig) -> None:
        self._sockets = [_listen(settings.port, "api.port")]
        self.port = _port(self._sockets[0])
        try:
            token = read_or_make_token(folder)
            streams = Streams(agent, Show(agent, settings))
            app: ASGIApp = make_app(agent, token, settings, streams)
            if settings.metrics:
                app = Metrics(app, agent, read_or_make_token(folder, METRICS_TOKEN_FILE))
            (folder / PORT_FILE).write_text(str(self.port), encoding="ascii")
            if settings.compatibility_port is not None:
                self._sockets.append(_listen(settings.compatibility_port, "api.compatibility_port"))
        except AgentError:
            self._close()
            raise
        except (OSError, UnicodeDecodeError) as error:
            self._close()
            raise AgentError(f"数据目录不可写 {folder}: {error} the token cannot be kept; check the folder") from error
        config = uvicorn.Config(
            app
            if self.compatibility_port is None
            else _by_port(app, self.compatibility_port, make_compatible(agent, settings)),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            ws_max_size=MOST_MESSAGE_BYTES,
        )
        self._server = _Server(config, streams)
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), name="api", daemon=True)

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://{HOST}:{self.port}"

    @property
    def compatibility_port(self) -> int | None:
        """The port for calls in the form of older evaluators, None when that is off."""
        return _port(self._sockets[1]) if len(self._sockets) > 1 else None

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
