"""What can stop the agent or a request, with a sentence for the person who can do something about it."""

from __future__ import annotations


class AgentError(Exception):
    """Base of the agent's errors; the text is Chinese first, then English, and ends in what to do."""


class ConfigError(AgentError):
    """The configuration cannot be used; the text has one line for each key that is wrong."""


class StoreError(AgentError):
    """The database cannot be opened or is in use by another agent."""


class DamagedError(StoreError):
    """The database was found damaged while the agent ran; the next start moves it aside and begins a new one."""


class PortError(AgentError):
    """A port cannot be opened or has failed."""


class PortBusyError(PortError):
    """Another window of this PC has the port; nothing is wrong."""


class RequestError(AgentError):
    """A request of a business system that cannot be carried out; `status` is the HTTP status, `code` a stable word."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
