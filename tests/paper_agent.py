"""The agent behind the local API without a device: a desk and a store that are real, calls that run at once.

Place puts it behind the real server.

agent = PaperAgent(tmp_path)
opened(agent)                              # an evaluation
agent.record(Kind.RATING, evaluation_id)   # the device's record about it
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from host_agent.api.server import ApiServer, Served
from host_agent.config import ApiConfig
from host_agent.desk import Desk
from host_agent.instant import Instant
from host_agent.link.events import Answered
from host_agent.link.trace import Trace
from host_agent.report import StatusReport
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox
from protocol.levels import Level
from protocol.messages import ErrorCode, Message
from protocol.record import Kind
from tests.agent_bench import at
from tests.chains import PaperDevice

T = TypeVar("T")
WITHIN_S = 10.0
ORIGIN = "http://hall.example"
REPORT = StatusReport(
    agent="0.1.0", window="533103/dating/07", link="talking", port="COM7", link_trouble=None, device="PJ-0001",
    device_trouble=None, firmware="1.0",
    boot=1, release_on_ack=False, staff="017", paused=False, evaluation=None, conditions=[], device_heard_ms=400,
    device_uptime_ms=60_000, clock_ahead_ms=-3, clock_ppm=12, journal_waiting=0, journal_free=9,
    broker_connected=True, broker_trouble=None, store_trouble=None, databases_set_aside=[], database_bytes=49152,
    database_most_bytes=256_000_000, outbox_to_send=0, outbox_sent=0,
    oldest_waiting_ms=None, counters={"records": 3},
)  # fmt: skip


class PaperAgent:
    """An agent without a loop: calls run at once, and the device answers as `answers` says."""

    def __init__(self, folder: Path, *, shows_level: bool = False) -> None:
        self.writer = Writer(folder)
        self.is_talking = True
        self.trouble: str | None = None
        self.answers = True
        self.error: ErrorCode | None = None
        self.device = PaperDevice()
        self.outbox = Outbox(self.writer)
        self.number = 0
        self.calls = 0
        self.asked: list[Message] = []
        self.trace = Trace()
        self.counted: list[str] = []
        self.raises: Exception | None = None
        self.desk = Desk(self, EvaluationStore(self.writer), LateCaseStore(self.writer), os.urandom, shows_level=shows_level)  # type: ignore[arg-type]  # it is the attachment as well

    def count(self, name: str) -> None:
        self.counted.append(name)

    def request(self, message: Message, _now: Instant) -> int:
        self.asked.append(message)
        self.number += 1
        return self.number

    def call(self, what: Callable[[Desk, Instant], T]) -> Future[T]:
        future: Future[T] = Future()
        self.calls += 1
        try:
            if self.raises is not None:
                raise self.raises
            before = self.number
            future.set_result(what(self.desk, at(0)))
            if self.answers:
                for number in range(before + 1, self.number + 1):
                    self.desk.answered(Answered(number, self.error), at(0))
        except Exception as error:
            future.set_exception(error)
        return future

    def status(self) -> Future[StatusReport]:
        return self.call(lambda _desk, _now: REPORT)

    def record(self, kind: Kind, evaluation: str | None, level: Level = Level.SATISFIED, flags: int = 0) -> None:
        """Let the device's next record come and be stored, as the agent does it."""
        record = self.device.write(kind, level, flags, evaluation=bytes.fromhex(evaluation or "00" * 16))
        with self.writer.transaction() as connection:
            self.outbox.accept(connection, self.device.device, [(record, record.pack())], 5)
            changed = self.desk.recorded(connection, [record], at(5))
        self.desk.announce(changed, self.device.device, [record])


class ThreadedAgent:
    """A paper agent in a thread of its own, as the real one is."""

    def __init__(self, folder: Path, *, shows_level: bool = False) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.paper = self._thread.submit(PaperAgent, folder, shows_level=shows_level).result(WITHIN_S)

    def call(self, what: Callable[[Desk, Instant], T]) -> Future[T]:
        return self._thread.submit(lambda: self.paper.call(what).result(0))

    def count(self, name: str) -> None:
        self.paper.count(name)

    def status(self) -> Future[StatusReport]:
        return self.call(lambda _desk, _now: REPORT)

    def record(self, kind: Kind, evaluation: str | None, level: Level = Level.SATISFIED, flags: int = 0) -> None:
        self._thread.submit(self.paper.record, kind, evaluation, level, flags).result(WITHIN_S)

    def ask(self, what: Callable[[Desk], T]) -> T:
        return self.call(lambda desk, _now: what(desk)).result(WITHIN_S)

    def close(self) -> None:
        self._thread.submit(self.paper.writer.close).result(WITHIN_S)
        self._thread.shutdown()


class Place:
    """An agent of paper behind the real server."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.agent = ThreadedAgent(folder, shows_level=settings.get("show_level", False))
        self.agent.ask(lambda desk: desk.connected("PJ-0001", at(0)))
        self.server = ApiServer([Served(self.agent, folder, ApiConfig(port=0, origins=[ORIGIN], **settings))])  # type: ignore[arg-type]  # a paper one
        self.token = (folder / "api-token").read_text().strip()
        self.auth = {"authorization": f"Bearer {self.token}"}
        self.server.start()
        self.client = httpx.Client(base_url=self.server.url, headers=self.auth, timeout=WITHIN_S)

    def close(self) -> None:
        self.client.close()
        self.server.stop()
        self.agent.close()

    def open(self, case_no: str = "C-1") -> str:
        answer = self.client.post("/v1/evaluations", json={"case": {"case_no": case_no}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    @contextmanager
    def listening(self, path: str = "/v1/events", last_id: str | None = None) -> Iterator[Iterator[dict[str, Any]]]:
        headers = {"last-event-id": last_id} if last_id else {}
        with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield events(answer.iter_lines())

    def socket(self, token: str | None = None, origin: str | None = ORIGIN, query: str = "") -> Any:
        protocols = [Subprotocol("hcp.v1"), Subprotocol(f"bearer.{token or self.token}")]
        url = self.server.url.replace("http", "ws") + f"/v1/ws{query}"
        return connect(url, subprotocols=protocols, origin=origin, open_timeout=WITHIN_S, close_timeout=1)  # type: ignore[arg-type]  # a str will do


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Server-sent events as a browser takes them apart."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}
            fields = {}
