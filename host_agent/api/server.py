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

from host_agent.agent import Agent
from host_agent.api.app import make_app
from host_agent.api.where import HOST, PORT_FILE, TOKEN_FILE
from host_agent.errors import AgentError

log = logging.getLogger("agent.api")

LEAST_TOKEN = 20


def read_or_make_token(folder: Path) -> str:
    """Return the token kept in `folder`, made at the first start and readable by its owner only.

    A group may be given the right to read it; a token that everybody can read is told of, one that is cut short replaced.
    """
    path = folder / TOKEN_FILE
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


class ApiServer:
    """uvicorn on loopback; the port is bound before anything else starts, so that a taken one is an error at once."""

    def __init__(self, agent: Agent, folder: Path, port: int, origins: list[str]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":  # there SO_REUSEADDR would let another program take the port over
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((HOST, port))
            self._socket.listen(64)
        except OSError as error:
            self._socket.close()
            raise AgentError(
                f"端口 {port} 已被占用，请修改 api.port port is in use ({error.strerror}); change api.port"
            ) from error
        self.port = int(self._socket.getsockname()[1])
        try:
            token = read_or_make_token(folder)
            (folder / PORT_FILE).write_text(str(self.port), encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            self._socket.close()
            raise AgentError(f"数据目录不可写 {folder}: {error} the token cannot be kept; check the folder") from error
        config = uvicorn.Config(
            make_app(agent, token, origins),
            log_config=None,
            log_level="warning",
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
