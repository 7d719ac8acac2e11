"""Options that several commands of `agent` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="配置文件 the configuration (TOML)")]
