"""Whether requests from afar are answered, and which."""

from __future__ import annotations

from host_agent.config import RemoteConfig
from host_agent.doctor.finding import Finding, Grade
from host_agent.errors import ConfigError
from host_agent.remote.key import is_open_to_others, read_key


def requests(config: RemoteConfig) -> Finding:
    """Look whether the key file can be used, and by whom else."""
    what = "远程请求 remote requests"
    if config.key_file is None:
        return Finding(what, Grade.OK, "关闭 off")
    try:
        read_key(config.key_file)
        is_open = is_open_to_others(config.key_file)
    except (ConfigError, OSError) as error:
        return Finding(what, Grade.FAIL, f"{error}；不予答复 none is answered")
    allowed = ", ".join(config.allow) or "无 none"
    if is_open:
        return Finding(
            what,
            Grade.WARN,
            f"允许 allowed: {allowed}；密钥文件对他人开放 the key file is open to others: chmod 640 {config.key_file}, or 600",
        )
    return Finding(what, Grade.OK, f"允许 allowed: {allowed}")
