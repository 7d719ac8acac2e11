"""Names under which Windows knows the agent, and where its files are there."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "HaochapingAgent"
"""Of the service and of its events."""
TITLE = "好差评窗口代理程序 Rating agent of one window"
DESCRIPTION = "接收评价器的评价，存入本机并送往归集。Takes ratings from the device, keeps them, brings them to the collection."
HOST_COMMAND = "service-host"
"""First argument of the process that the service manager starts."""


def home() -> Path:
    """Return the folder of configuration, data and logs: a service has no user's folder."""
    return Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "Haochaping"
