"""Serving the local API from a thread, and its token (shell)."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from pathlib import Path

import uvicorn

from host_agent.agent import Agent
from host_agent.api.app import make_app
from host_agent.errors import AgentError

TOKEN_FILE = "api-token"  # noqa: S105  # the name of the file, not a token
PORT_FILE = "api-port"
HOST = "127.0.0.1"


def read_or_make_token(folder: Path) -> str:
    """Return the token kept in `folder`, made at the first start and readable by its owner only."""
    path = folder / TOKEN_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(24)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(token + "\n")
        return token


class ApiServer:
    """uvicorn on loopback; the port is bound before anything else starts, so that a taken one is an error at once."""

    def __init__(self, agent: Agent, folder: Path, port: int, origins: list[str]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, port))
        except OSError as error:
            self._socket.close()
            raise AgentError(
                f"端口 {port} 已被占用，请修改 api.port port is in use ({error.strerror}); change api.port"
            ) from error
        self.port = int(self._socket.getsockname()[1])
        (folder / PORT_FILE).write_text(str(self.port), encoding="ascii")
        config = uvicorn.Config(
            make_app(agent, read_or_make_token(folder), origins),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="api", daemon=True)

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; a long poll is cut off after a second."""
        self._server.should_exit = True
        self._thread.join(5.0)
