"""What can be checked before the agent runs, one finding after the other, each with what to do.

The checks change nothing that lasts. Called by the command `agent config check`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from filelock import FileLock, Timeout

from host_agent.config import Config
from host_agent.errors import AgentError
from host_agent.link.port import list_candidates
from host_agent.store.database import LOCK_FILE, client_id
from host_agent.uplink.login import try_login
from host_agent.uplink.reach import why_not
from protocol.topics import Down


class Grade(Enum):
    """How a check came out."""

    OK = "正常 ok"
    WARN = "注意 warn"
    FAIL = "错误 fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, and what to do about it."""

    what: str
    grade: Grade
    text: str


def check(config: Config) -> Iterator[Finding]:
    """Yield the findings about a configuration that has been read."""
    yield Finding("窗口 window", Grade.OK, config.window().path)
    running = _is_running(config.data_dir)
    yield _data_dir(config.data_dir, running=running)
    yield _device(config.device.port, running=running)
    yield from _broker(config, running=running)


def _is_running(folder: Path) -> bool:
    file = folder / LOCK_FILE
    if not file.exists():
        return False
    try:
        with FileLock(file).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _data_dir(folder: Path, *, running: bool) -> Finding:
    what = "数据目录 data directory"
    if running:
        return Finding(what, Grade.OK, f"{folder}，代理程序正在使用 in use by the running agent")
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return Finding(what, Grade.OK, str(folder) if nearest == folder else f"{folder}，启动时建立 made at the start")
    except OSError as error:
        return Finding(
            what, Grade.FAIL, f"data_dir: {nearest} 不可写 cannot be written ({error.strerror}); 请检查权限 check rights"
        )


def _device(port: str | None, *, running: bool) -> Finding:
    what = "评价器串口 device port"
    if running:
        return Finding(what, Grade.OK, "见 agent status  see agent status")
    found = list_candidates()
    if port is None:
        if not found:
            return Finding(
                what, Grade.WARN, "未发现 USB 串口，请检查连线和驱动 no USB serial port is there: check cable and driver"
            )
        return Finding(what, Grade.OK, f"将询问 will be asked: {', '.join(found)}")
    if "://" in port or port in found or os.path.exists(port):
        return Finding(what, Grade.OK, port)
    there = f"; 现有 there is: {', '.join(found)}" if found else ""
    return Finding(what, Grade.WARN, f"device.port: {port} 不存在，请检查连线 does not exist: check the cable{there}")


def _broker(config: Config, *, running: bool) -> Iterator[Finding]:
    what = "消息服务器 broker"
    try:
        broker = config.broker()
    except AgentError as error:
        yield Finding(what, Grade.FAIL, str(error))
        return
    place = f"{broker.host}:{broker.port}{'' if broker.tls is None else ' TLS'}"
    why = why_not(broker)
    if why is not None:
        yield Finding(what, Grade.FAIL, why)
        return
    yield Finding(what, Grade.OK, place)
    what = "登录与权限 login and rights"
    if running:
        yield Finding(what, Grade.OK, "代理程序在运行，见 agent status  the agent is running, see agent status")
        return
    window = config.window()
    try:
        refused = try_login(broker, client_id(config.data_dir, window.path, keep=False), window.down(Down.RECEIPT))
    except OSError as error:
        refused = f"{place}: {error}"
    if refused is None:
        yield Finding(what, Grade.OK, broker.username or "未用用户名 no user name")
    else:
        yield Finding(what, Grade.FAIL, refused)
