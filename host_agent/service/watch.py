"""Asking a running agent how it is, for a service manager that does not: changes are told, and a loop that stands still is found.

The service of Windows runs `Watch` in a thread of its own; systemd has a watchdog for the second and its journal for the first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer

from host_agent.report import StatusReport
from host_agent.service.changes import Change, Changes

log = logging.getLogger("agent.service")

ASK_EVERY_S = 5.0
STANDS_STILL_S = 30.0
"""As long as systemd's watchdog waits."""


class Watch:
    """`ask` asks the agent; `told` hears what has changed, `stands_still` once that no answer comes."""

    def __init__(
        self,
        ask: Callable[[], Future[StatusReport]],
        told: Callable[[Change], None],
        stands_still: Callable[[], None],
        every_s: float = ASK_EVERY_S,
        within_s: float = STANDS_STILL_S,
    ) -> None:
        self._ask = ask
        self._told = told
        self._stands_still = stands_still
        self._every_s = every_s
        self._within_s = within_s
        self._ending = threading.Event()

    def run(self) -> None:
        """Ask until `end`, or until no answer came."""
        changes = Changes()
        while not self._ending.wait(self._every_s):
            try:
                report = self._ask().result(self._within_s)
            except NoAnswer:
                if not self._ending.is_set():
                    self._stands_still()
                return
            except Exception as error:
                log.warning("状态无法读取 the state cannot be read: %s", error)  # a fault that the agent's own thread meets
            else:
                for change in changes.saw(report, time.monotonic()):
                    self._told(change)

    def end(self) -> None:
        """Make `run` return; an end that takes long is not a loop that stands still."""
        self._ending.set()
