"""What several commands have in common: the option that names the configuration, and writing a key to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from collector.errors import ConfigError

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="配置文件 the configuration (TOML)")]


def write_key(file: Path, digits: str) -> None:
    """Write a key to a new file that only its owner can read; ConfigError when there is one already."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"密钥文件无法建立 cannot make {file}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(digits + "\n")
