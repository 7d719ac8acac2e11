"""What a service manager is told: ready, still working, stopping (sd_notify, a datagram to the socket that systemd names).

The watchdog is fed by the loop that does the work and by nothing else: an agent whose loop stands still is started again.
Without a service manager all of it does nothing. Called by the command `agent run`.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger("agent.service")


class Notifier:
    """One service; `environment` is the process's own."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval_us = environment.get("WATCHDOG_USEC", "0")
        self._every_s = int(interval_us) / 3e6 if mine and interval_us.isdecimal() else 0.0
        self._next_s = 0.0

    def ready(self) -> None:
        """Say that requests are answered from now on."""
        self._say("READY=1")

    def beat(self) -> None:
        """Say that the loop turns; three times as often as the watchdog asks, however often this is called."""
        now_s = time.monotonic()
        if self._every_s and now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end has been asked for."""
        self._say("STOPPING=1")

    def _say(self, word: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
                door.connect(self._address)
                door.send(word.encode())
        except OSError as error:
            log.warning("无法通知服务管理器 the service manager cannot be told %s: %s", word, error)
