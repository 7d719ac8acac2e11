"""The process that the service manager of Windows starts: it answers at once, then becomes the agent.

Only pywin32 is imported before the service manager has been answered: it gives a program 30 s, which a slow disk and a virus
scanner can use up on Python's packages alone (error 1053). `running` is reported when the local API answers. Every failure ends
the process without a word to the service manager, which therefore starts it again; why, is in the event log and in the log
file.

A thread asks the agent how it is: what has changed goes to the event log, and an agent that does not answer for STANDS_STILL_S
is ended, for the loop that does the work stands still.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from concurrent.futures import TimeoutError as NoAnswer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import servicemanager
import win32service

from host_agent.service.windows_events import Events
from host_agent.service.windows_names import NAME

if TYPE_CHECKING:
    from host_agent.service.running import Running

log = logging.getLogger("agent.service")

START_HINT_MS, STOP_HINT_MS = 60_000, 10_000
ASK_EVERY_S = 5.0
STANDS_STILL_S = 30.0
STARTED, STOPPED, FAILED, STANDS_STILL = 1, 2, 3, 4
"""Kinds of events; those of `changes` begin at 10."""


class Service:
    """What the C part of pywin32 makes once and then runs; the names of its methods are pywin32's."""

    _svc_name_ = NAME

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._events = Events()
        self._running: Running | None = None
        self._stopping = threading.Event()
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
            if self._stopping.is_set():
                running.stop()
        running.run(self._ready, lambda: None, lambda: self._report(win32service.SERVICE_STOP_PENDING, STOP_HINT_MS))

    def _ready(self, url: str) -> None:
        assert self._running is not None  # noqa: S101  # it is the caller
        threading.Thread(target=self._watch, args=(self._running,), name="watch", daemon=True).start()
        self._report(win32service.SERVICE_RUNNING, 0)
        self._events.tell(STARTED, False, f"窗口代理程序已启动 the rating agent has started: {url}")

    def _watch(self, running: Running) -> None:
        from host_agent.service.changes import Changes

        changes = Changes()
        while not self._stopping.wait(ASK_EVERY_S):
            try:
                report = running.agent.status().result(STANDS_STILL_S)
            except NoAnswer:
                if not self._stopping.is_set():
                    self._events.tell(
                        STANDS_STILL, True, "代理程序无响应，即将重新启动 the agent stands still and is started again"
                    )
                    os._exit(1)
            except Exception as error:
                log.warning(
                    "状态无法读取 the state cannot be read: %s", error
                )  # it is ending, or a fault that its own thread meets
            else:
                for change in changes.saw(report, time.monotonic()):
                    self._events.tell(change.number, change.is_bad, change.text)

    def _control(self, control: int, _kind: int, _data: object) -> None:
        if control in (win32service.SERVICE_CONTROL_STOP, win32service.SERVICE_CONTROL_SHUTDOWN):
            self._report(win32service.SERVICE_STOP_PENDING, STOP_HINT_MS)
            self._stopping.set()
            with self._lock:
                if self._running is not None:
                    self._running.stop()

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
