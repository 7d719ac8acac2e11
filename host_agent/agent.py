"""The agent: the one place that knows all parts, and the one thread in which they run.

Everything that happens elsewhere (port threads, MQTT client, HTTP requests) is posted here as a callable. Each turn of the loop
runs what was posted, makes all records that came in durable in one transaction, and only then acknowledges them to the
device and publishes them: a record that has been acknowledged survives whatever comes.

Two kinds of failure are expected here. An exception of a caller's request goes back to the caller. A database that cannot be
written (disk full) is a state: nothing is acknowledged, and when it can be written again the device is asked for everything
from the first record that is not durable. A database that is damaged or gone ends the process, and the next start begins a
new one. Anything else is a bug and ends it too: to go on after an event was lost half-way could acknowledge a record that was
never stored, and a restarted agent begins from what is durable.

Over 400 lines, because it is the one place where all parts meet: each handler is a few lines that belong to one thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import TypeVar

from host_agent import AGENT_VERSION
from host_agent.absences import Reason
from host_agent.attendance import Attendance
from host_agent.config import Config
from host_agent.desk import Desk
from host_agent.device_health import health_of
from host_agent.errors import DamagedError, RequestError
from host_agent.instant import Instant
from host_agent.link.attachment import Attachment
from host_agent.link.conversation import LinkState
from host_agent.link.device_clock import DeviceClock
from host_agent.link.events import Alarmed, Answered, Event, Identified, Received, Refused, Reported, Said, Silent, Skipped
from host_agent.link.handover import Handover
from host_agent.remote.acts import Acts
from host_agent.remote.gate import Gate, RefusedError
from host_agent.remote.opening import open_gate
from host_agent.report import StatusReport
from host_agent.store.absences import AbsenceStore
from host_agent.store.damage import FAILURES, is_damage
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox
from host_agent.store.trouble import StoreTrouble
from host_agent.store.upkeep import Upkeep
from host_agent.surroundings import Surroundings
from host_agent.uplink.mqtt import Broker
from host_agent.uplink.publisher import Publisher
from protocol.messages import Capability, ErrorCode, HelloAnswer, Receipt, Status, StatusRequest
from protocol.payloads import DeviceHealth, DeviceState
from protocol.record import Record
from protocol.remote import Refusal
from protocol.topics import Window

log = logging.getLogger("agent")

T = TypeVar("T")

LONGEST_WAIT_S = 1.0
MOST_PER_TURN = 500
DAY_MS = 86_400_000
LOOK_AT_FILE_EVERY_S = 10.0
ASK_AGAIN_EVERY_S = 60.0
"""How often a device is asked again for the record that its receipts wait for and that is not here."""


class Agent:
    """Runs in `run` until `stop`, in the thread that made it; `call` is the door for other threads."""

    def __init__(self, config: Config, surroundings: Surroundings | None = None) -> None:
        surroundings = surroundings or Surroundings()
        self._config = config
        self._clocks = surroundings.clocks
        self._posted = surroundings.posted
        self._inbox: queue.SimpleQueue[Callable[[Instant], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        broker, window = config.broker(), config.window()  # ConfigError and StoreError before anything is started
        self._writer = Writer(config.data_dir)
        try:
            self._build(config, surroundings, broker, window)
        except BaseException as error:
            self._writer.close()
            if isinstance(error, FAILURES) and is_damage(error):
                raise self._condemned(error) from error
            raise

    def _build(self, config: Config, surroundings: Surroundings, broker: Broker, window: Window) -> None:
        self._outbox = Outbox(self._writer)
        self._upkeep = Upkeep(
            self._writer,
            config.retention_days * DAY_MS,
            config.max_database_mb * 1_000_000,
            partial(surroundings.free_bytes, config.data_dir),
        )
        self._attachment = Attachment(
            config.device.port,
            surroundings.ports,
            self._post,
            self._event,
            self._device_lost,
            entropy=surroundings.entropy,
            dtr=config.device.dtr,
            rts=config.device.rts,
            belongs=config.belongs,
        )
        self._late_cases = LateCaseStore(self._writer)
        self._desk = Desk(
            self._attachment,
            EvaluationStore(self._writer),
            self._late_cases,
            surroundings.entropy,
            shows_level=config.api.show_level,
        )
        absences = AbsenceStore(self._writer)
        self._attendance = Attendance(absences, surroundings, lambda: self._desk.staff)
        self._publisher = Publisher(
            broker,
            self._writer.client_id(window.path),
            window,
            self._outbox,
            self._late_cases,
            absences,
            self._post,
            self._hand_receipt,
            surroundings.connect,
            surroundings.clocks,
            requests=self._requests(config, window, surroundings),
        )
        self._batch: list[tuple[Record, bytes]] = []
        self._skipped_to = 0
        self._next_seq = 0
        self._is_first_record = False
        self._device: HelloAnswer | None = None
        self._unmet: HelloAnswer | None = None
        """A device that has said who it is, and has to be looked up in the database when that is possible."""
        self._status: Status | None = None
        self._health: DeviceHealth | None = None
        self._heard_s = 0.0
        """When the last status came, by monotonic time."""
        self._handover = Handover()
        self._device_clock = DeviceClock()
        self._hello_times = (0.0, 0.0)
        self._store_trouble = StoreTrouble()
        self._look_at_file_s = self._ask_again_s = 0.0
        self._counters: Counter[str] = Counter()

    def _requests(self, config: Config, window: Window, surroundings: Surroundings) -> Gate | None:
        """Return what answers requests from afar; None without a key."""
        acts = Acts(
            report=self._report,
            log_lines=surroundings.log_lines,
            outbox=self._outbox,
            attachment=self._attachment,
            is_asking=lambda: self._attachment.is_talking and self._desk.open_evaluation() is not None,
            device_holds=self._device_holds,
            read_from=self._read_from,
            look_again=lambda: self._publisher.look_again(),
        )
        return open_gate(config.remote, window, acts)

    # --- other threads ---------------------------------------------------------------------------------------

    def call(self, what: Callable[[Desk, Instant], T]) -> Future[T]:
        """Have `what` run in the agent's thread; its result or exception comes in the future."""
        future: Future[T] = Future()

        def run(now: Instant) -> None:
            if not future.set_running_or_notify_cancel():
                return
            if self._ended.is_set():
                future.set_exception(RequestError(503, "stopping", "代理程序正在停止 the agent is stopping; try again later"))
                return
            try:
                future.set_result(what(self._desk, now))
            except Exception as error:
                future.set_exception(error)
                if is_damage(error):
                    raise

        self._post(run)
        if self._ended.is_set():
            self._drain()
        return future

    def _post(self, what: Callable[[Instant], None]) -> None:
        """Have something happen in the agent's thread; from any thread."""
        self._inbox.put(what)
        self._posted()

    def count(self, name: str) -> None:
        """Count something that happened outside the agent's thread, for the status."""
        self._post(lambda _now: self._counters.update([name]))

    def status(self) -> Future[StatusReport]:
        """Ask for the agent's status."""
        return self.call(lambda _desk, now: self._report(now))

    def stop(self) -> None:
        """Make `run` return; from any thread or signal handler."""
        self._stopping.set()
        self._post(lambda _now: None)

    # --- the loop --------------------------------------------------------------------------------------------

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`; everything is durable when this returns. `beat` is called after each turn, at least every second."""
        try:
            self.start()
            while not self._stopping.is_set():
                self._wait()
                self.turn()
                beat()
        except BaseException:
            self._attendance.failed()
            raise
        finally:
            self.end()

    def start(self) -> None:
        """Begin to connect; `turn` has to follow whenever something was posted or `deadline_s` is reached."""
        self._publisher.start(self._clocks())

    def end(self) -> None:
        """Close everything; what is durable stays, the rest the device still has."""
        self._attachment.close()
        self._publisher.stop(self._clocks())
        self._ended.set()
        self._drain()
        self._attendance.stop(self._clocks())
        self._writer.close()

    def _drain(self) -> None:
        """Answer who still asks: what was posted is refused or, for a port or connection that is closed, does nothing."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()(self._clocks())

    def turn(self) -> None:
        """Do everything that has been posted and is due, without waiting."""
        with contextlib.suppress(queue.Empty):
            for _ in range(MOST_PER_TURN):
                self._guarded(self._inbox.get_nowait(), self._clocks())
        now = self._clocks()
        self._guarded(self._keep, now)
        self._guarded(self._attachment.step, now)

    def _wait(self) -> None:
        """Wait until something is posted or due."""
        wait_s = min(self.deadline_s() - self._clocks().mono_s, LONGEST_WAIT_S)
        if wait_s > 0:
            with contextlib.suppress(queue.Empty):
                self._guarded(self._inbox.get(timeout=wait_s), self._clocks())

    def _keep(self, now: Instant) -> None:
        """Make durable what came in, and move what is durable on."""
        self._device_clock.watch(now)
        self._attendance.watch(now)
        if self._store_trouble.error is not None:
            self._batch.clear()  # not acknowledged: the device has it still
            self._skipped_to = 0
            if now.mono_s < self._store_trouble.retry_s:
                return
            self._start_over(now)
        self._commit(now)
        self._attendance.step(now)
        self._publisher.step(now)
        if deleted := self._upkeep.step(now):
            self._counters["records_deleted"] += deleted
            self._late_cases.purge()
        self._look_at_file(now)
        if self._store_trouble.is_over(now):
            log.info("数据库恢复正常 the database can be written again")

    def _guarded(self, what: Callable[[Instant], None], now: Instant) -> None:
        """Do it; a database that fails is noted, and tried again later; one that is damaged is the end of this run."""
        try:
            what(now)
        except FAILURES as error:
            if is_damage(error):
                raise self._condemned(error) from error
            if self._store_trouble.failed(error, self._clocks()):
                log.error("数据库无法写入，请检查磁盘空间和权限 the database cannot be written: %s; check the disk", error)
            self._counters["store_failures"] += 1

    def _condemned(self, error: Exception) -> DamagedError:
        self._writer.condemn()
        return DamagedError(
            f"数据库已损坏，请重新启动代理程序，届时将移开旧库并新建 the database is damaged ({error});"
            " start the agent again: it moves the file aside, begins a new one, and the device sends its records again"
        )

    def _look_at_file(self, now: Instant) -> None:
        if now.mono_s < self._look_at_file_s:
            return
        self._look_at_file_s = now.mono_s + LOOK_AT_FILE_EVERY_S
        if not self._writer.is_in_place():
            raise DamagedError(
                "数据库文件被删除或替换，请重新启动代理程序 the database file was deleted or replaced while in use;"
                " start the agent again: the device sends its records again"
            )

    def deadline_s(self) -> float:
        """Return the monotonic time by which `turn` must be called."""
        trouble = self._store_trouble
        other_s = self._publisher.deadline_s() if trouble.error is None else trouble.retry_s
        return min(self._attachment.deadline_s(), self._attendance.deadline_s(), other_s)

    def _commit(self, now: Instant) -> None:
        """Make what came in durable, then say so to the device."""
        if self._device is None or not (self._batch or self._skipped_to):
            return
        batch, self._batch = self._batch, []
        device, next_seq = self._device.device, self._next_seq
        with self._writer.transaction() as connection:
            self._outbox.accept(
                connection,
                device,
                batch,
                now.utc_ms,
                self._device.next_seq,
                lambda record: self._device_clock.reckon(device, record, now),
            )
            self._outbox.advance(connection, device, next_seq)
            records = [record for record, _ in batch]
            changed = self._desk.recorded(connection, records, now)
        self._skipped_to = 0
        self._counters["records"] += len(batch)
        if self._attachment.conversation is not None and self._attachment.is_talking:
            self._attachment.conversation.acknowledge(next_seq)
            self._attachment.flush()
        self._desk.announce(changed, device, records)

    def _start_over(self, now: Instant) -> None:
        """Try the store again, and ask the device for everything that is not durable here."""
        assert self._store_trouble.error is not None  # noqa: S101  # the caller has looked
        self._writer.reopen_after(self._store_trouble.error)
        with self._writer.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts (name, value) VALUES ('store_tried', ?)", (str(now.utc_ms),))
        self._store_trouble.overcome()
        if self._unmet is not None:
            self._meet(now)
        elif self._device is not None and self._attachment.conversation is not None and self._attachment.is_talking:
            self._next_seq = self._attachment.conversation.start(self._outbox.next_seq(self._device.device), now)

    # --- what the conversation says --------------------------------------------------------------------------

    def _event(self, event: Event, now: Instant) -> None:
        # guarded one by one: the other events of the same bytes are not lost with this one
        self._guarded(partial(self._take, event), now)

    def _take(self, event: Event, now: Instant) -> None:
        match event:
            case Received(record, _) if record.seq != self._next_seq:
                pass  # of the same bytes as what had the reading begin anew: it comes again
            case Received(record, raw):
                self._received(record, raw, now)
            case Skipped(first_seq, _, _) if first_seq != self._next_seq:
                pass
            case Skipped(first_seq, count, was_released):
                if was_released:
                    log.warning("评价器已释放 %d 条记录（已归集） released before they came here: %d..", count, first_seq)
                else:
                    log.error("评价器有 %d 条记录已无法读取 records cannot be read any more: %d..", count, first_seq)
                self._counters["released" if was_released else "unreadable"] += count
                self._next_seq = self._skipped_to = first_seq + count
            case Identified(answer, asked_s):
                self._hello_times = asked_s, now.mono_s
                self._identified(answer, now)
            case Reported(status, asked_s):
                if asked_s is not None:
                    self._device_clock.heard(status.uptime_ms, asked_s, now.mono_s)
                self._health = health_of(status, asked_s, now, self._device_clock.ppm())
                self._heard_s = now.mono_s
                self._reported(status, self._health, now)
            case Answered():
                self._answered(event, now)
            case Alarmed(error):
                log.error("评价器报警 the device reports %s (%d); call the technician", error.code.name, error.detail)
                self._counters[f"alarm_{error.code.name.lower()}"] += 1
            case Said(text):
                log.info("device: %s", "".join(one if one.isprintable() else "?" for one in text.text))
            case Silent():
                log.warning("评价器无应答，正在重新呼叫 the device is silent; saying hello again")
                self._counters["silences"] += 1
                self._device_lost(now, "silent")
            case Refused():
                self._counters["versions_refused"] += 1
                self._device_lost(now, "refused")

    def _received(self, record: Record, raw: bytes, now: Instant) -> None:
        if self._is_first_record:
            self._is_first_record = False
            device, conversation = self._device, self._attachment.conversation
            if device is not None and conversation is not None and self._outbox.contradicts(device.device, record):
                log.error(
                    "两台评价器使用同一编号 %s，请联系运维 another device bears this id, all its records are read; "
                    "call the technician",
                    device.device,
                )
                self._counters["same_id_twice"] += 1
                self._next_seq = conversation.start(0, now)
                return
        self._batch.append((record, raw))
        self._next_seq = record.seq + 1

    def _identified(self, answer: HelloAnswer, now: Instant) -> None:
        self._unmet = answer
        expected = self._config.device.id
        if expected is not None and answer.device != expected:
            log.warning("%s", self._misplaced(answer.device))
            self._counters["unexpected_device"] += 1
        if self._store_trouble.error is None:
            self._meet(now)

    def _misplaced(self, device: str) -> str | None:
        """Return what to say of a device that belongs to another window, None where it belongs here."""
        expected = self._config.device.id
        if expected is None or device == expected:
            return None
        return (
            f"本窗口应为评价器 {expected}，现在是 {device}，请换回，或修改 device.id；评价照常收集 "
            f"this window expects {expected}: swap them back, or change device.id; ratings are taken all the same"
        )

    def _meet(self, now: Instant) -> None:
        """Look up the device that has said who it is, and begin with it."""
        answer, conversation = self._unmet, self._attachment.conversation
        assert answer is not None  # noqa: S101  # the callers have looked
        if conversation is None or conversation.state is not LinkState.IDENTIFIED:
            self._unmet = None  # gone again
            return
        self._commit(now)  # what the device before this one still had in the batch
        self._device_clock.met(answer.device, answer.boot, answer.uptime_ms, *self._hello_times)
        next_seq, went_back = self._outbox.meet(answer, now.utc_ms)
        self._unmet = None
        self._device = answer
        self._status = self._health = None
        if went_back:
            log.error("评价器 %s 的编号倒退，全部重新读取 its numbers went back; everything is read again", answer.device)
            self._counters["numbers_went_back"] += 1
        self._next_seq = conversation.start(next_seq, now)
        self._is_first_record = True
        log.info("评价器 device %s firmware %s at %s", answer.device, answer.firmware, self._attachment.port_name)
        self._handover.met(self._outbox.last_receipt(answer.device))
        self._offer_receipt(answer.receipt_seq, answer.next_seq, now)
        self._publisher.look_again()
        self._attendance.met(answer.device, now)
        self._desk.connected(answer.device, now)
        self._publisher.device_changed(
            DeviceState(
                device=answer.device,
                firmware=answer.firmware,
                boot=answer.boot,
                release_on_ack=bool(answer.capabilities & Capability.RELEASE_ON_ACK),
            ),
            now,
        )

    def _reported(self, status: Status, health: DeviceHealth, now: Instant) -> None:
        if self._status is not None and status.conditions != self._status.conditions:
            log.warning("评价器状态 device conditions: %s", health.conditions or "正常 none")
        self._status = status
        self._offer_receipt(status.receipt_seq, status.next_seq, now)
        self._publisher.device_said(max(0, status.next_seq - self._next_seq), status.free, health)
        if not self._batch:
            self._desk.reported(status, self._next_seq, now)
            self._ask_for_hole(status, now)

    def _ask_for_hole(self, status: Status, now: Instant) -> None:
        """Read again from where the receipts stand if that record is not here: the disk has lost or damaged it.

        Not often: the device may have lost it as well, and tells the collection so in a record of its own.
        """
        device, conversation = self._device, self._attachment.conversation
        if device is None or conversation is None or status.receipt_seq >= self._next_seq or now.mono_s < self._ask_again_s:
            return
        self._ask_again_s = now.mono_s + ASK_AGAIN_EVERY_S
        if not self._outbox.holds(device.device, status.receipt_seq):
            log.warning("记录缺失，向评价器重新索取 record %d is not here and is asked for again", status.receipt_seq)
            self._counters["asked_again"] += 1
            self._next_seq = conversation.start(status.receipt_seq, now)

    def _device_holds(self, device: str) -> range:
        """Return the numbers that the device at this window holds; none while the database cannot take them."""
        said, newest = self._device, self._status
        if said is None or said.device != device or not self._attachment.is_talking or self._store_trouble.error is not None:
            return range(0)
        return range(said.oldest_seq, said.next_seq) if newest is None else range(newest.oldest_seq, newest.next_seq)

    def _read_from(self, _device: str, seq: int, now: Instant) -> None:
        """Have the device that was just said to hold it send its records from this number on."""
        conversation = self._attachment.conversation
        assert conversation is not None  # noqa: S101  # it talks
        self._guarded(self._commit, now)
        if self._store_trouble.error is not None:
            raise RefusedError(Refusal.UNAVAILABLE, self._store_trouble.why or "")
        self._next_seq = conversation.start(seq, now)

    def _hand_receipt(self, device: str, receipt: Receipt, now: Instant) -> None:
        if self._device is not None and self._device.device == device and self._handover.came(receipt):
            self._offer_receipt(0, self._next_seq, now)

    def _offer_receipt(self, receipt_seq: int, next_seq: int, now: Instant) -> None:
        if self._attachment.is_talking:
            self._handover.offer(receipt_seq, next_seq, lambda receipt: self._attachment.request(receipt, now))
            self._attachment.flush()  # now, and not after the commits of this turn

    def _answered(self, answer: Answered, now: Instant) -> None:
        handed = self._handover.answered(answer, self._next_seq, lambda receipt: self._attachment.request(receipt, now))
        if handed is None:
            self._desk.answered(answer, now)
        elif answer.error is None and not answer.gave_up:
            self._attachment.request(StatusRequest(), now)  # so that what waits is shown as it is now
        elif answer.error is not None:
            self._receipt_refused(answer.error, handed, now)

    def _receipt_refused(self, error: ErrorCode, receipt: Receipt, now: Instant) -> None:
        """Undo a receipt that the device refuses: it may be forged, and the collection without the records that it names."""
        assert self._device is not None  # noqa: S101  # it has just answered
        taken_seq = max(self._device.receipt_seq, self._status.receipt_seq if self._status is not None else 0)
        count = self._publisher.receipt_refused(self._device.device, receipt, taken_seq, now)
        log.error(
            "评价器拒绝回执，密钥可能不符，或有人伪造回执；%d 条记录重新发送 the device refuses a receipt (%s): is its key "
            "the hall's, or does somebody forge receipts? Its records are sent again",
            count,
            error.name,
        )

    def _device_lost(self, now: Instant, why: Reason = "unplugged") -> None:
        self._attendance.lost(why, now)
        self._handover.lost()
        self._unmet = None
        self._status = self._health = None
        self._desk.disconnected(now)
        self._publisher.device_changed(None, now)

    # --- reports ---------------------------------------------------------------------------------------------

    def _report(self, now: Instant) -> StatusReport:
        waiting = self._outbox.waiting()
        device, status, health = self._device if self._attachment.is_talking else None, self._status, self._health
        counters = dict(self._counters)
        if self._attachment.conversation is not None:
            line = asdict(self._attachment.conversation.counters)
            counters |= {f"line_damaged_{reason}": count for reason, count in line.pop("damaged").items()}
            counters |= {f"line_{name}": count for name, count in line.items()}
        counters |= {"published": self._publisher.published, "receipts_refused": self._publisher.refused_receipts}
        counters["receipts_refused_by_device"] = self._handover.refused
        counters["records_disputed"] = self._publisher.disputed
        counters |= self._publisher.remote_counters
        counters |= {"device_bad_frames": health.bad_frames, "device_resent": health.resent} if health else {}
        counters["clock_outliers"] = self._device_clock.outliers
        return StatusReport(
            agent=AGENT_VERSION,
            window=self._config.window().path,
            link=self._attachment.state,
            port=self._attachment.port_name,
            link_trouble=None if self._attachment.is_talking else self._attachment.trouble,
            device=device.device if device else None,
            device_trouble=self._misplaced(device.device) if device else None,
            firmware=device.firmware if device else None,
            boot=device.boot if device else None,
            release_on_ack=bool(device and device.capabilities & Capability.RELEASE_ON_ACK),
            staff=self._desk.staff,
            paused=self._desk.paused is not None,
            evaluation=asked.id if (asked := self._desk.open_evaluation()) is not None else None,
            conditions=health.conditions if health else [],
            device_heard_ms=round((now.mono_s - self._heard_s) * 1000) if health else None,
            device_uptime_ms=health.uptime_ms if health else None,
            clock_ahead_ms=health.clock_ahead_ms if health else None,
            clock_ppm=health.clock_ppm if health else None,
            journal_waiting=max(0, status.next_seq - status.receipt_seq) if status else None,
            journal_free=status.free if status else None,
            broker_connected=self._publisher.is_connected,
            broker_trouble=self._publisher.trouble,
            store_trouble=self._store_trouble.why,
            databases_set_aside=self._writer.set_aside(),
            database_bytes=self._upkeep.used_bytes(),
            database_most_bytes=self._upkeep.most_bytes,
            outbox_to_send=waiting.to_send,
            outbox_sent=waiting.sent,
            oldest_waiting_ms=waiting.oldest_for_ms(now.utc_ms),
            counters={name: count for name, count in sorted(counters.items()) if count},
        )
