"""`/metrics` for Prometheus: how the agent is, as numbers. Off unless `[api] metrics = true`.

It has a token of its own, the file `metrics-token`: who watches windows must not hold the one that opens evaluations, so that one
is not taken here, nor this one anywhere else. Otherwise it is guarded as the API is: loopback, Host, no page.
Nothing here says how or by whom anybody was rated: no level, case or member of staff; labels come from fixed lists, and from the
windows of this PC and their devices.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from host_agent.agent import Agent
from host_agent.api.guard import Guard
from host_agent.errors import RequestError
from host_agent.link.conversation import LinkState
from host_agent.report import StatusReport
from protocol.messages import Condition

PATH: Final = "/metrics"
TOKEN_FILE: Final = "metrics-token"  # noqa: S105  # the name of the file, not a token
CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
ANSWER_WITHIN_S = 5.0
PREFIX: Final = "haochaping_agent_"
LINK_STATES: Final = ("searching", "opening", *(state.value for state in LinkState))
_STARTED_S = time.time()


@dataclass(frozen=True, slots=True)
class Metric:
    """One name with its samples, each with its labels."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


class Metrics:
    """ASGI: answers `/metrics`, and leaves every other path to the application."""

    def __init__(self, app: ASGIApp, agents: Sequence[Agent], token: str) -> None:
        self._app = app
        self._agents = agents
        self._guarded = Guard(self._answer, token=token, origins=[])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        is_ours = scope["type"] == "http" and scope["path"] == PATH
        await (self._guarded if is_ours else self._app)(scope, receive, send)

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        status, body = 405, "GET\n"
        if scope["method"] in ("GET", "HEAD"):
            try:
                asked = asyncio.gather(*(asyncio.wrap_future(agent.status()) for agent in self._agents))
                reports = await asyncio.wait_for(asked, ANSWER_WITHIN_S)
                status, body = 200, exposition([*of_windows(reports), *of_process()])
            except (TimeoutError, RequestError, sqlite3.Error):  # it stops, or its database fails: the scrape fails
                status, body = 503, "no answer from the agent\n"
        headers = [(b"content-type", CONTENT_TYPE), (b"content-length", str(len(body.encode())).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body.encode()})


def exposition(metrics: list[Metric]) -> str:
    """Return the text exposition format, version 0.0.4."""
    lines = []
    for metric in metrics:
        told = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
        lines += [f"# HELP {metric.name} {told}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{_labels(labels)} {value!r}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"


def of_windows(reports: Sequence[StatusReport]) -> Iterator[Metric]:
    """Yield what the agents of this PC's windows say of themselves, each sample with its window."""
    for same in zip(*(_of_agent(report) for report in reports), strict=True):
        samples = [
            ({"window": report.window, **labels}, value)
            for report, metric in zip(reports, same, strict=True)
            for labels, value in metric.samples
        ]
        yield replace(same[0], samples=tuple(samples))


def _of_agent(report: StatusReport) -> Iterator[Metric]:
    """Yield what one agent says of itself."""
    yield _gauge("info", "Version; always 1.", ({"version": report.agent}, 1))
    yield _gauge("link_state", "1 for the state in which the link to the device is.", *_one_of(LINK_STATES, report.link))
    device = {"device": report.device or "", "firmware": report.firmware or ""}
    yield _gauge(
        "device_info", "The device that is connected; no sample without one.", *([(device, 1)] if report.device else [])
    )
    named = tuple((condition.name or "").lower() for condition in Condition)
    yield _gauge("device_condition", "1 for what the device reports.", *_each_of(named, report.conditions))
    yield _gauge("device_heard_seconds", "How long ago the device's last status came.", *_seconds(report.device_heard_ms))
    yield _gauge("device_uptime_seconds", "Since the device's start.", *_seconds(report.device_uptime_ms))
    yield _gauge("device_clock_ahead_seconds", "The device's clock against this PC's.", *_seconds(report.clock_ahead_ms))
    yield _gauge("device_clock_drift_ppm", "How much faster it runs, parts per million.", *_known(report.clock_ppm))
    yield _gauge("paused", "1 while the window has stopped serving.", ({}, report.paused))
    yield _gauge("broker_connected", "1 while there is a connection to the MQTT broker.", ({}, report.broker_connected))
    yield _gauge("database_writable", "0 while the database cannot be written.", ({}, report.store_trouble is None))
    yield _gauge("database_used_bytes", "Size of the database without its free pages.", ({}, report.database_bytes))
    yield _gauge("database_limit_bytes", "From which size on delivered records are deleted.", ({}, report.database_most_bytes))
    yield _gauge("databases_set_aside", "Damaged databases that nobody has removed yet.", ({}, len(report.databases_set_aside)))
    yield _gauge("journal_waiting_records", "In the device and without a receipt.", *_known(report.journal_waiting))
    yield _gauge("journal_free_records", "For which the device has room.", *_known(report.journal_free))
    yield _gauge(
        "outbox_records",
        "In this database and without a receipt.",
        ({"state": "to_send"}, report.outbox_to_send),
        ({"state": "sent"}, report.outbox_sent),
    )
    waited_s = (report.oldest_waiting_ms or 0) / 1000
    yield _gauge(
        "oldest_waiting_seconds", "How long the oldest record has waited for its receipt; 0 with none.", ({}, waited_s)
    )
    counted = tuple(({"event": name}, count) for name, count in sorted(report.counters.items()))
    yield Metric(f"{PREFIX}events_total", "counter", "What has happened since the start, by name.", counted)


def of_process() -> Iterator[Metric]:
    """Yield facts about this process under the names that are usual for them, as far as this system tells them."""
    times = os.times()
    yield Metric(f"{PREFIX}threads", "gauge", "Threads of Python.", (({}, threading.active_count()),))
    yield Metric("process_start_time_seconds", "gauge", "Start time, seconds since 1970.", (({}, _STARTED_S),))
    yield Metric("process_cpu_seconds_total", "counter", "Processor time.", (({}, times.user + times.system),))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE")
        yield Metric("process_resident_memory_bytes", "gauge", "Resident memory.", (({}, memory),))
        yield Metric("process_open_fds", "gauge", "Open files and sockets.", (({}, len(os.listdir("/proc/self/fd"))),))


def _gauge(name: str, told: str, *samples: tuple[Mapping[str, str], float]) -> Metric:
    return Metric(PREFIX + name, "gauge", told, tuple((labels, _plain(value)) for labels, value in samples))


def _plain(value: float) -> float:
    return int(value) if isinstance(value, bool) else value


def _seconds(millis: int | None) -> list[tuple[Mapping[str, str], float]]:
    return [] if millis is None else [({}, millis / 1000)]


def _known(value: int | None) -> list[tuple[Mapping[str, str], float]]:
    return [] if value is None else [({}, value)]


def _one_of(names: tuple[str, ...], is_now: str) -> list[tuple[Mapping[str, str], float]]:
    return [({"state": name}, int(name == is_now)) for name in names]


def _each_of(names: tuple[str, ...], are_now: list[str]) -> list[tuple[Mapping[str, str], float]]:
    return [({"condition": name}, int(name in are_now)) for name in names]
