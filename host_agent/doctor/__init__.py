"""Looking at everything that a rating needs on this PC, one finding after the other, each with what to do about it.

`check` is for a configuration before the agent runs, `examine` for a window that does not do what it should; beside a running
agent neither tries anything that would disturb it, and neither changes anything that lasts.
Called by the commands `agent config check` and `agent doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from host_agent.config import Config
from host_agent.doctor import broker, device, place, remote, running, usb
from host_agent.doctor.finding import Finding, Grade

__all__ = ["Finding", "Grade", "check", "examine"]


def check(config: Config) -> Iterator[Finding]:
    """Yield the findings about a configuration that has been read."""
    yield Finding("窗口 window", Grade.OK, config.window().path)
    is_running = place.is_running(config.data_dir)
    yield place.folder(config.data_dir, is_running=is_running)
    if is_running:
        yield Finding("评价器串口 device port", Grade.OK, "代理程序正在使用 in use by the running agent")
    else:
        yield device.port(config.device.port)
    yield from broker.findings(config, is_running=is_running)
    yield remote.requests(config.remote)


def examine(config: Config, report: dict[str, Any] | None) -> Iterator[Finding]:
    """Yield the findings about a window; `report` is the running agent's status, None when it gives none."""
    yield Finding("窗口 window", Grade.OK, config.window().path)
    is_running = report is not None or place.is_running(config.data_dir)
    yield running.agent(report, is_running=is_running)
    yield place.folder(config.data_dir, is_running=is_running)
    yield place.room(config.data_dir)
    yield from place.database(config.data_dir)
    yield place.clock(config.data_dir)
    if report is not None:
        yield from running.device(report)
    elif not is_running:
        yield from device.findings(config)
    yield from usb.power(config.device.port if report is None else report["port"], report)
    yield from broker.findings(config, is_running=is_running)
    if report is not None:
        yield from running.delivery(report)
    yield remote.requests(config.remote)
