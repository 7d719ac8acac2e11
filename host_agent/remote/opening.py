"""The gate as the configuration wants it, or none: without a key that can be used, nobody is answered."""

from __future__ import annotations

import logging

from host_agent.config import RemoteConfig
from host_agent.errors import ConfigError
from host_agent.remote.acts import Acts
from host_agent.remote.gate import Gate
from host_agent.remote.key import read_key
from protocol.topics import Window

log = logging.getLogger("agent.remote")


def open_gate(config: RemoteConfig, window: Window, acts: Acts) -> Gate | None:
    """Return the gate; None, said in the log, where there is a key file that is none: ratings are taken all the same."""
    if config.key_file is None:
        return None
    try:
        key = read_key(config.key_file)
    except ConfigError as error:
        log.error("%s；远程请求不予答复 no remote request is answered", error)
        return None
    return Gate(key, window, config.allow, acts.by_kind())
