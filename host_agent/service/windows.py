"""The agent as a service of Windows: starts by itself after the others, is started again when it fails, may do little.

`install` and `remove` do the same thing when they are called again, and end with the service in the state that they promise or
with an AgentError. Configuration and data are never removed. It runs as LocalService, which owns nothing and is nobody in the
network. Called by the commands `agent service …`, and by setup.exe through them. pywin32 is there on Windows only, and imported
only when it is used.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from host_agent.config import Config
from host_agent.errors import AgentError
from host_agent.service.windows_names import DESCRIPTION, HOST_COMMAND, NAME, TITLE, home

ACCOUNT = r"NT AUTHORITY\LocalService"
RESTARTS_MS = (2_000, 5_000, 30_000)
"""How long after its first, second and every later end it is started again; a day without one begins anew."""
START_S, STOP_S, GONE_S = 60.0, 10.0, 10.0
_UNKNOWN_LEVEL, _ACCESS_DENIED, _NO_PROCESS, _NO_SERVICE, _MARKED = 124, 5, 87, 1060, 1072
WORDS = {1: "inactive", 2: "activating", 3: "deactivating", 4: "active"}
"""The service manager's states by the words that systemd has for them."""


def command(config: Path) -> str:
    """Return the command line that the service manager runs."""
    ours = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "host_agent"]
    return subprocess.list2cmdline([*ours, HOST_COMMAND, str(config)])


def install(config: Path, settings: Config, root: Path = Path("/")) -> list[Path]:
    """Make or renew the service and start it; return the folders that it may write. AgentError says what is in the way."""
    _must_be_windows()
    _must_be_here(root)
    from host_agent.service import windows_events, windows_rights

    config = config.resolve()
    folders = [settings.data_dir, config.parent / "logs"]
    with _told():
        manager = _manager()
        try:
            _stop(manager)
            windows_rights.give(config, settings, folders)
            windows_events.register()
            _write(manager, command(config))
            _start(manager, config.parent / "logs")
        finally:
            _close(manager)
    return folders


def remove(root: Path = Path("/")) -> list[Path]:
    """Stop the service and take it away; return what is gone. Configuration and data stay."""
    _must_be_windows()
    _must_be_here(root)
    import win32service

    from host_agent.service import windows_events

    with _told():
        manager = _manager()
        try:
            with _opened(manager) as service:
                if service is None:
                    return []
                _stop(manager)
                win32service.DeleteService(service)
            if not _wait(lambda: _is_gone(manager), GONE_S):
                raise AgentError(
                    "服务已标记为删除，请关闭“服务”窗口 the service goes as soon as no other program looks at it: close the window"
                    " “Services”"
                )
            windows_events.unregister()
        finally:
            _close(manager)
    return [Path(NAME)]


def installed_config(root: Path = Path("/")) -> Path | None:
    """Return the configuration with which the service runs; None when it is not installed."""
    _must_be_windows()
    _must_be_here(root)
    import win32service

    with _told():
        manager = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_CONNECT)
        try:
            with _opened(manager, win32service.SERVICE_QUERY_CONFIG) as service:
                if service is None:
                    return None
                line: str = win32service.QueryServiceConfig(service)[3]
        finally:
            _close(manager)
    _, host, path = line.partition(f" {HOST_COMMAND} ")
    return Path(path.strip('"')) if host else None


def stop() -> bool:
    """Stop the service and wait until its process is gone; tell whether there is one. It starts again with the machine."""
    _must_be_windows()
    with _told():
        manager = _manager()
        try:
            return _stop(manager)
        finally:
            _close(manager)


def state() -> str:
    """Return how the service is, in systemd's words: active, inactive …; `not installed` without one."""
    _must_be_windows()
    import win32service

    with _told():
        manager = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_CONNECT)
        try:
            with _opened(manager, win32service.SERVICE_QUERY_STATUS) as service:
                if service is None:
                    return "not installed"
                return WORDS.get(_status(service)["CurrentState"], "unknown")
        finally:
            _close(manager)


def secure_home() -> None:
    """Make the folder that holds configuration and secrets, closed to ordinary users before anything is put there."""
    _must_be_windows()
    from host_agent.service import windows_rights

    with _told():
        home().mkdir(parents=True, exist_ok=True)
        windows_rights.close(home(), windows_rights.READS)


def _write(manager: Any, line: str) -> None:
    """Make the service, or have the one that is there be as it should."""
    import win32service as w

    with _opened(manager) as service:
        if service is not None:
            w.ChangeServiceConfig(
                service, w.SERVICE_WIN32_OWN_PROCESS, w.SERVICE_AUTO_START, w.SERVICE_ERROR_NORMAL, line, None, False, None, ACCOUNT,
                "", TITLE,
            )  # fmt: skip
            _settle(service)
            return
    service = w.CreateService(
        manager, NAME, TITLE, w.SERVICE_ALL_ACCESS, w.SERVICE_WIN32_OWN_PROCESS, w.SERVICE_AUTO_START, w.SERVICE_ERROR_NORMAL, line,
        None, False, None, ACCOUNT, "",
    )  # fmt: skip
    try:
        _settle(service)
    finally:
        _close(service)


def _settle(service: Any) -> None:
    import pywintypes
    import win32service as w

    actions = [(w.SC_ACTION_RESTART, wait_ms) for wait_ms in RESTARTS_MS]
    settings: tuple[tuple[int, Any], ...] = (
        (w.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION),
        (w.SERVICE_CONFIG_FAILURE_ACTIONS, {"ResetPeriod": 86_400, "RebootMsg": "", "Command": "", "Actions": actions}),
        (w.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True),  # after what the desktop needs
        (w.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
    )
    for level, value in settings:
        try:
            w.ChangeServiceConfig2(service, level, value)
        except pywintypes.error as error:
            if error.winerror != _UNKNOWN_LEVEL:  # wine does not know all of them
                raise


def _start(manager: Any, logs: Path) -> None:
    import win32service

    with _opened(manager) as service:
        win32service.StartService(service, None)
        _wait(lambda: _status(service)["CurrentState"] != win32service.SERVICE_START_PENDING, START_S)
        if _status(service)["CurrentState"] != win32service.SERVICE_RUNNING:
            raise AgentError(f"服务未能启动，请查看日志 the service does not start; see the log: {logs}")


def _stop(manager: Any) -> bool:
    """Stop the service and see its process end; tell whether there is a service."""
    import pywintypes
    import win32service

    with _opened(manager) as service:
        if service is None:
            return False
        process = _process(_status(service)["ProcessId"])
        try:
            with contextlib.suppress(pywintypes.error):  # not running, or in the middle of its start or end
                win32service.ControlService(service, win32service.SERVICE_CONTROL_STOP)
            is_down = _wait(lambda: _status(service)["CurrentState"] == win32service.SERVICE_STOPPED, STOP_S)
            if process is not None:
                is_down = _ended(process)
        finally:
            if process is not None:
                process.Close()
        if not is_down:
            raise AgentError("服务无法停止，请重新启动电脑 the service does not stop; restart the PC")
        return True


def _process(number: int) -> Any:
    """Open a process, None if it is gone."""
    import pywintypes
    import win32api
    import win32con

    try:
        return win32api.OpenProcess(win32con.SYNCHRONIZE | win32con.PROCESS_TERMINATE, False, number) if number else None
    except pywintypes.error as error:
        if error.winerror == _NO_PROCESS:
            return None
        raise


def _ended(process: Any) -> bool:
    """Wait for the end of a process, and make one if it does not come; tell whether it has."""
    import win32api
    import win32event

    if win32event.WaitForSingleObject(process, int(STOP_S * 1000)) != win32event.WAIT_OBJECT_0:
        win32api.TerminateProcess(process, 1)  # what it has acknowledged is durable, the rest the device has
    return win32event.WaitForSingleObject(process, int(STOP_S * 1000)) == win32event.WAIT_OBJECT_0


def _manager() -> Any:
    import win32service

    return win32service.OpenSCManager(None, None, win32service.SC_MANAGER_ALL_ACCESS)


@contextlib.contextmanager
def _opened(manager: Any, access: int = 0xF01FF) -> Iterator[Any]:
    """Have the service open, with every right by default; None when there is none."""
    import pywintypes
    import win32service

    service = None
    try:
        service = win32service.OpenService(manager, NAME, access)
    except pywintypes.error as error:
        if error.winerror != _NO_SERVICE:
            raise
    try:
        yield service
    finally:
        if service is not None:
            _close(service)


def _is_gone(manager: Any) -> bool:
    with _opened(manager, 0x0004) as service:
        return service is None


def _status(service: Any) -> Any:
    import win32service

    return win32service.QueryServiceStatusEx(service)


def _close(handle: Any) -> None:
    import win32service

    win32service.CloseServiceHandle(handle)


def _wait(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what Windows refuses into a sentence."""
    import pywintypes

    try:
        yield
    except pywintypes.error as error:
        if error.winerror == _ACCESS_DENIED:
            raise AgentError("权限不足，请以管理员身份运行 access denied; run this as administrator") from error
        if error.winerror == _MARKED:
            raise AgentError(
                "服务正在删除，请关闭“服务”窗口后重试 the service is being removed; close the window “Services”, then try again"
            ) from error
        raise AgentError(f"系统拒绝 Windows refuses: {error.strerror} ({error.funcname}, {error.winerror})") from error
    except PermissionError as error:
        raise AgentError(f"权限不足，请以管理员身份运行 access denied ({error.filename}); run this as administrator") from error


def _must_be_here(root: Path) -> None:
    if root != Path("/"):
        raise AgentError("Windows 上不支持 --root，请去掉 there is no --root on Windows; leave it out")


def _must_be_windows() -> None:
    if sys.platform != "win32":
        raise AgentError("此命令仅支持 Windows this is for Windows only")
