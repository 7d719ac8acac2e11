"""The agent and its local API as one thing that runs: what the command `agent run` and the service of Windows have in common."""

from __future__ import annotations

import os
from collections.abc import Callable

from host_agent.agent import Agent
from host_agent.api.server import ApiServer
from host_agent.config import Config
from host_agent.service.log_ring import keep_last_lines


class Running:
    """Made in the thread that calls `run`. AgentError says why it cannot be."""

    def __init__(self, settings: Config) -> None:
        os.umask(0o077)  # the database holds ratings: not for whoever else works at this PC
        keep_last_lines()
        self.agent = Agent(settings)
        self._server = ApiServer(self.agent, settings.data_dir, settings.api)

    def run(self, ready: Callable[[str], None], beat: Callable[[], None], stopping: Callable[[], None]) -> None:
        """Work until `stop`. `ready` hears the API's address when it answers, `stopping` that the end has begun."""
        self._server.start()
        ready(self._server.url)
        try:
            self.agent.run(beat)
        finally:
            stopping()
            self._server.stop()

    def stop(self) -> None:
        """Make `run` return; from any thread or signal handler."""
        self.agent.stop()
