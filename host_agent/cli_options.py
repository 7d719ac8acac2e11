"""Options that several commands of `agent` have in common."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from host_agent.service.windows_names import home

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="配置文件 the configuration (TOML)")]
WindowOption = Annotated[
    str | None,
    typer.Option("--window", help="窗口号；本机有多个窗口时用 the window's number, where several windows are at this PC"),
]
STANDARD_CONFIG = home() / "agent.toml" if sys.platform == "win32" else Path("/etc/haochaping/agent.toml")
