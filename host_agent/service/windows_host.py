"""The process that the service manager of Windows starts: it answers at once, then becomes the agent.

Only pywin32 is imported before the service manager has been answered: it gives a program 30 s, which a slow disk and a virus
scanner can use up on Python's packages alone (error 1053). `running` is reported when the local API answers. Every failure ends
the process without a word to the service manager, which therefore starts it again; why, is in the event log and in the log
file.

A thread watches the agent: what has changed goes to the event log, and an agent whose loop stands still is ended.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import servicemanager
import win32service

from host_agent.service.windows_events import Events
from host_agent.service.windows_names import NAME

if TYPE_CHECKING:
    from host_agent.service.changes import Change
    from host_agent.service.running import Running
    from host_agent.service.watch import Watch

log = logging.getLogger("agent.service")

START_HINT_MS, STOP_HINT_MS = 60_000, 10_000
STARTED, STOPPED, FAILED, STANDS_STILL = 1, 2, 3, 4
"""Kinds of events; those of `changes` begin at 10."""


class Service:
    """What the C part of pywin32 makes once and then runs; the names of its methods are pywin32's."""

    _svc_name_ = NAME

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._events = Events()
        self._running: Running | None = None
        self._watches: list[Watch] = []
        self._stopping = False
        self._lock = threading.Lock()
        self._checkpoint = 0
        self._manager: Any = servicemanager.RegisterServiceCtrlHandler(arguments[0], self._control, True)

    def SvcRun(self) -> None:  # noqa: N802  # pywin32 calls it so
        """Be the agent until the service manager says stop; whatever else ends it ends the process at once."""
        self._report(win32service.SERVICE_START_PENDING, START_HINT_MS)
        try:
            self._work(Path(sys.argv[2]))
        except BaseException as error:  # nobody is there to hear it but the log
            self._fail(error)
        self._events.tell(STOPPED, False, "窗口代理程序已停止 the rating agent has stopped")
        self._report(win32service.SERVICE_STOP_PENDING, STOP_HINT_MS)  # the C part reports the end when this returns

    def _work(self, config: Path) -> None:
        from host_agent.config import load  # these here, for they take a second or more: see above
        from host_agent.service.log_file import log_to
        from host_agent.service.running import Running

        log_to(config.parent / "logs", "info")  # so that a configuration that cannot be read is told of there too
        settings = load(config)
        logging.getLogger().setLevel(settings.log_level.upper())
        self._report(win32service.SERVICE_START_PENDING, START_HINT_MS)
        with self._lock:
            self._running = running = Running(settings)
            if self._stopping:
                running.stop()
        running.run(self._ready, lambda: None, lambda: self._report(win32service.SERVICE_STOP_PENDING, STOP_HINT_MS))

    def _ready(self, url: str) -> None:
        from host_agent.service.watch import Watch

        assert self._running is not None  # noqa: S101  # it is the caller
        agents = self._running.agents
        for window, agent in agents.items():
            told = self._told if len(agents) == 1 else partial(self._told_of, window)
            self._watches.append(Watch(agent.status, told, self._stands_still))
            threading.Thread(target=self._watches[-1].run, name="watch", daemon=True).start()
        self._report(win32service.SERVICE_RUNNING, 0)
        self._events.tell(STARTED, False, f"窗口代理程序已启动 the rating agent has started: {url}")

    def _told(self, change: Change) -> None:
        self._events.tell(change.number, change.is_bad, change.text)

    def _told_of(self, window: str, change: Change) -> None:
        self._told(replace(change, text=f"窗口 window {window}: {change.text}"))

    def _stands_still(self) -> None:
        self._events.tell(STANDS_STILL, True, "代理程序无响应，将重新启动 the agent stands still and is started again")
        os._exit(1)

    def _control(self, control: int, _kind: int, _data: object) -> None:
        if control in (win32service.SERVICE_CONTROL_STOP, win32service.SERVICE_CONTROL_SHUTDOWN):
            self._report(win32service.SERVICE_STOP_PENDING, STOP_HINT_MS)
            with self._lock:
                self._stopping = True
                if self._running is not None:
                    self._running.stop()
            for watch in self._watches:
                watch.end()

    def _report(self, state: int, hint_ms: int) -> None:
        self._checkpoint = 0 if state == win32service.SERVICE_RUNNING else self._checkpoint + 1
        accepted = win32service.SERVICE_ACCEPT_STOP | win32service.SERVICE_ACCEPT_SHUTDOWN
        if state == win32service.SERVICE_START_PENDING:
            accepted = 0
        kind = win32service.SERVICE_WIN32_OWN_PROCESS
        win32service.SetServiceStatus(self._manager, (kind, state, accepted, 0, 0, self._checkpoint, hint_ms))

    def _fail(self, error: BaseException) -> None:
        log.critical("代理程序停止 the agent has failed: %s", error, exc_info=error)
        self._events.tell(
            FAILED, True, f"窗口代理程序因错误停止，将自动重新启动 the rating agent has failed and is started again: {error}"
        )
        logging.shutdown()
        os._exit(1)  # without `stopped`: the service manager takes it for a crash, which it is, and starts it again


def main() -> None:
    """Answer the service manager that has started this process."""
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(Service)
    servicemanager.StartServiceCtrlDispatcher()  # type: ignore[no-untyped-call]  # so it is in its stubs
