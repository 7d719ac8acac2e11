"""The file with this window's remote key, as `collector remote-key` writes it: 64 hex digits.

An agent whose key file cannot be used takes ratings all the same and answers nobody; the log and `agent config check` say why.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from host_agent.errors import ConfigError
from protocol.signing import KEY_BYTES


def read_key(path: Path) -> bytes:
    """Return the 32 bytes; ConfigError when there are none."""
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"文件无法读取 remote.key_file cannot be read: {error}; check its name and rights") from error
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"不是远程密钥 remote.key_file: {path} is no remote key: make it at the collection with: collector remote-key"
        )
    return key


def is_open_to_others(path: Path) -> bool:
    """Tell whether every user of this PC may read it; on Windows the folder's rights decide, which setup closes."""
    return sys.platform != "win32" and bool(path.stat().st_mode & stat.S_IRWXO)
