"""The agent: the one place that knows all parts, and the one thread in which they run.

Everything that happens elsewhere (port threads, MQTT client, HTTP requests) is posted here as a callable. Each turn of the loop
runs what was posted, makes all records that came in durable in one transaction, and only then acknowledges them to the
device and publishes them: a record that has been acknowledged survives whatever comes.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import TypeVar

from host_agent import AGENT_VERSION
from host_agent.config import Config
from host_agent.desk import Desk
from host_agent.instant import Instant, read_clocks
from host_agent.link.attachment import Attachment
from host_agent.link.conversation import (
    Alarmed,
    Answered,
    Event,
    Identified,
    Received,
    Refused,
    Reported,
    Said,
    Silent,
    Skipped,
)
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.outbox import Outbox
from host_agent.uplink.publisher import Publisher
from protocol.messages import Capability, HelloAnswer, Receipt, Status
from protocol.payloads import DeviceState
from protocol.record import Record

log = logging.getLogger("agent")

T = TypeVar("T")

LONGEST_WAIT_S = 1.0
PURGE_EVERY_S = 6 * 3600.0
MOST_PER_TURN = 500
STORE_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What a person or a program may know of the agent; never a level."""

    agent: str
    window: str
    link: str
    port: str | None
    link_trouble: str | None
    device: str | None
    firmware: str | None
    boot: int | None
    release_on_ack: bool
    staff: str | None
    paused: bool
    conditions: list[str]
    journal_waiting: int | None
    journal_free: int | None
    broker_connected: bool
    broker_trouble: str | None
    store_trouble: str | None
    outbox_to_send: int
    outbox_sent: int
    oldest_waiting_ms: int | None
    counters: dict[str, int]


class Agent:
    """Runs in `run` until `stop`; `call` is the door for other threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._inbox: queue.SimpleQueue[Callable[[Instant], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._writer = Writer(config.data_dir)  # StoreError before anything is started
        self._outbox = Outbox(self._writer)
        self._attachment = Attachment(
            config.device.port,
            self._inbox.put,
            self._event,
            self._device_lost,
            dtr=config.device.dtr,
            rts=config.device.rts,
        )
        self._desk = Desk(self._attachment, EvaluationStore(self._writer))
        self._publisher = Publisher(
            config.broker(),
            f"hcp-agent-{self._installation()}",
            config.window(),
            self._outbox,
            self._inbox.put,
            self._hand_receipt,
        )
        self._batch: list[tuple[Record, bytes]] = []
        self._skipped_to = 0
        self._next_seq = 0
        self._device: HelloAnswer | None = None
        self._status: Status | None = None
        self._receipts_asked: set[int] = set()
        self._store_trouble: str | None = None
        self._store_retry_s = 0.0
        self._purge_s = 0.0
        self._counters: Counter[str] = Counter()

    # --- other threads ---------------------------------------------------------------------------------------

    def call(self, what: Callable[[Desk, Instant], T]) -> Future[T]:
        """Have `what` run in the agent's thread; its result or exception comes in the future."""
        future: Future[T] = Future()

        def run(now: Instant) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(what(self._desk, now))
            except Exception as error:
                future.set_exception(error)

        self._inbox.put(run)
        return future

    def status(self) -> Future[StatusReport]:
        """Ask for the agent's status."""
        return self.call(lambda _desk, _now: self._report())

    def stop(self) -> None:
        """Make `run` return; from any thread or signal handler."""
        self._stopping.set()
        self._inbox.put(lambda _now: None)

    # --- the loop --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop`; everything is durable when this returns."""
        now = read_clocks()
        self._publisher.start(now)
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._attachment.close()
            self._publisher.stop(read_clocks())
            self._writer.close()

    def _turn(self) -> None:
        try:
            self._run_posted()
            now = read_clocks()
            if self._store_trouble is not None:
                self._batch.clear()  # not acknowledged: the device has it still
                self._skipped_to = 0
                if now.mono_s >= self._store_retry_s:
                    self._start_over(now)
            if self._store_trouble is None:
                self._commit(now)
                self._publisher.step(now)
                self._purge(now)
            self._attachment.step(now)
        except sqlite3.Error as error:
            if self._store_trouble is None:
                log.error("数据库无法写入 the database cannot be written: %s; check disk space and permissions", error)
            self._store_trouble = str(error)
            self._store_retry_s = time.monotonic() + STORE_RETRY_S
            self._counters["store_failures"] += 1

    def _run_posted(self) -> None:
        wait_s = min(self._deadline_s() - time.monotonic(), LONGEST_WAIT_S)
        try:
            todo = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
            todo(read_clocks())
            for _ in range(MOST_PER_TURN):
                todo = self._inbox.get_nowait()
                todo(read_clocks())
        except queue.Empty:
            pass

    def _deadline_s(self) -> float:
        other_s = self._publisher.deadline_s() if self._store_trouble is None else self._store_retry_s
        return min(self._attachment.deadline_s(), other_s)

    def _commit(self, now: Instant) -> None:
        """Make what came in durable, then say so to the device."""
        if self._device is None or not (self._batch or self._skipped_to):
            return
        batch, self._batch = self._batch, []
        device, next_seq = self._device.device, self._next_seq
        with self._writer.transaction() as connection:
            self._outbox.accept(connection, device, batch, now.utc_ms)
            self._outbox.advance(connection, device, next_seq)
            changed = self._desk.recorded(connection, [record for record, _ in batch], now)
        self._skipped_to = 0
        self._counters["records"] += len(batch)
        if self._attachment.conversation is not None and self._attachment.is_talking:
            self._attachment.conversation.acknowledge(next_seq)
            self._attachment.flush()
        self._desk.announce(changed)

    def _start_over(self, now: Instant) -> None:
        """Try the store again, and ask the device for everything that is not durable here."""
        with self._writer.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts (name, value) VALUES ('store_tried', ?)", (str(now.utc_ms),))
        self._store_trouble = None
        log.info("数据库恢复正常 the database can be written again")
        if self._device is not None and self._attachment.conversation is not None and self._attachment.is_talking:
            row = self._writer.connection.execute(
                "SELECT next_seq FROM devices WHERE device = ?", (self._device.device,)
            ).fetchone()
            self._next_seq = max(int(row[0]) if row else 0, self._device.oldest_seq)
            self._attachment.conversation.start(self._next_seq, now)

    def _purge(self, now: Instant) -> None:
        if now.mono_s >= self._purge_s:
            self._purge_s = now.mono_s + PURGE_EVERY_S
            self._outbox.purge(now.utc_ms - self._config.retention_days * 86_400_000)

    # --- what the conversation says --------------------------------------------------------------------------

    def _event(self, event: Event, now: Instant) -> None:
        match event:
            case Received(record, raw):
                self._batch.append((record, raw))
                self._next_seq = record.seq + 1
            case Skipped(first_seq, count):
                log.error("评价器有 %d 条记录已无法读取 records %d.. cannot be read any more", count, first_seq)
                self._counters["unreadable"] += count
                self._next_seq = self._skipped_to = first_seq + count
            case Identified(answer):
                self._identified(answer, now)
            case Reported(status):
                self._reported(status, now)
            case Answered():
                if event.correlation in self._receipts_asked:
                    self._receipts_asked.discard(event.correlation)
                    self._receipt_answered(event)
                else:
                    self._desk.answered(event, now)
            case Alarmed(error):
                log.error("评价器报警 the device reports %s (%d); call the technician", error.code.name, error.detail)
                self._counters[f"alarm_{error.code.name.lower()}"] += 1
            case Said(text):
                log.info("device: %s", text.text)
            case Silent():
                log.warning("评价器无应答，正在重新呼叫 the device is silent; saying hello again")
                self._counters["silences"] += 1
                self._device_lost(now)
            case Refused():
                self._device_lost(now)

    def _identified(self, answer: HelloAnswer, now: Instant) -> None:
        expected = self._config.device.id
        if expected is not None and answer.device != expected:
            log.warning(
                "窗口应为评价器 %s，实际为 %s the configuration names another device; ratings are taken all the same",
                expected,
                answer.device,
            )
            self._counters["unexpected_device"] += 1
        self._commit(now)  # what the device before this one still had in the batch
        self._device = answer
        self._status = None
        next_seq = self._outbox.meet(answer, now.utc_ms)
        if next_seq > answer.next_seq:
            log.error(
                "评价器 %s 的编号倒退（%d → %d），全部重新读取 its numbers went back; everything is read again",
                answer.device,
                next_seq,
                answer.next_seq,
            )
            self._counters["numbers_went_back"] += 1
            next_seq = 0
        conversation = self._attachment.conversation
        assert conversation is not None  # noqa: S101  # it has just spoken
        conversation.start(next_seq, now)
        self._next_seq = max(next_seq, answer.oldest_seq)
        log.info("评价器 device %s firmware %s at %s", answer.device, answer.firmware, self._attachment.port_name)
        receipt = self._outbox.last_receipt(answer.device)
        if receipt is not None and receipt.next_seq > answer.receipt_seq:
            self._receipts_asked.add(self._attachment.request(receipt, now))
        self._desk.connected(now)
        self._publisher.device_changed(
            DeviceState(
                device=answer.device,
                firmware=answer.firmware,
                boot=answer.boot,
                release_on_ack=bool(answer.capabilities & Capability.RELEASE_ON_ACK),
            ),
            now,
        )

    def _reported(self, status: Status, now: Instant) -> None:
        if self._status is not None and status.conditions != self._status.conditions:
            log.warning("评价器状态 device conditions: %s", _words(status) or "正常 none")
        self._status = status
        self._publisher.journal_changed(max(0, status.next_seq - self._next_seq), status.free)
        if not self._batch:
            self._desk.reported(status, self._next_seq, now)

    def _hand_receipt(self, device: str, receipt: Receipt) -> None:
        if self._device is not None and self._device.device == device and self._attachment.is_talking:
            self._receipts_asked.add(self._attachment.request(receipt, read_clocks()))

    def _receipt_answered(self, answer: Answered) -> None:
        if answer.error is not None:
            self._counters["receipts_refused_by_device"] += 1
            log.error(
                "评价器拒绝回执，密钥可能不符 the device refuses a receipt (%s): is its key the hall's?", answer.error.name
            )

    def _device_lost(self, now: Instant) -> None:
        self._receipts_asked.clear()
        self._status = None
        self._desk.disconnected(now)
        self._publisher.device_changed(None, now)

    # --- reports ---------------------------------------------------------------------------------------------

    def _report(self) -> StatusReport:
        waiting = self._outbox.waiting()
        device, status = self._device if self._attachment.is_talking else None, self._status
        counters = dict(self._counters)
        if self._attachment.conversation is not None:
            line = asdict(self._attachment.conversation.counters)
            counters |= {f"line_damaged_{reason}": count for reason, count in line.pop("damaged").items()}
            counters |= {f"line_{name}": count for name, count in line.items()}
        counters |= {"published": self._publisher.published, "receipts_refused": self._publisher.refused_receipts}
        return StatusReport(
            agent=AGENT_VERSION,
            window=self._config.window().path,
            link=self._attachment.state,
            port=self._attachment.port_name,
            link_trouble=None if self._attachment.is_talking else self._attachment.trouble,
            device=device.device if device else None,
            firmware=device.firmware if device else None,
            boot=device.boot if device else None,
            release_on_ack=bool(device and device.capabilities & Capability.RELEASE_ON_ACK),
            staff=self._desk.staff,
            paused=self._desk.paused is not None,
            conditions=_words(status) if status else [],
            journal_waiting=max(0, status.next_seq - status.receipt_seq) if status else None,
            journal_free=status.free if status else None,
            broker_connected=self._publisher.is_connected,
            broker_trouble=None if self._publisher.is_connected else self._publisher.trouble,
            store_trouble=self._store_trouble,
            outbox_to_send=waiting.to_send,
            outbox_sent=waiting.sent,
            oldest_waiting_ms=waiting.oldest_ms,
            counters={name: count for name, count in sorted(counters.items()) if count},
        )

    def _installation(self) -> str:
        """Return this installation's id, drawn at its first start and kept in the database."""
        with self._writer.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO facts (name, value) VALUES ('installation', ?)", (uuid.uuid4().hex,))
            row = connection.execute("SELECT value FROM facts WHERE name = 'installation'").fetchone()
        return str(row[0])


def _words(status: Status) -> list[str]:
    return [condition.name.lower() for condition in status.conditions if condition.name]
