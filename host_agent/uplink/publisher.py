"""Outbox to broker and receipts back, driven from the agent's one thread.

Keeps the connection's session number, publishes state (retained, and the will) and health, moves records through the delivery
window, and marks in the database what the broker has acknowledged, many at a time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial

from pydantic import ValidationError

from host_agent import AGENT_VERSION
from host_agent.instant import Instant
from host_agent.link.attachment import Post
from host_agent.remote.gate import Gate
from host_agent.store.absences import AbsenceStore
from host_agent.store.late_cases import LateCaseStore
from host_agent.store.outbox import Outbox, Row
from host_agent.uplink.absences import AbsenceReports
from host_agent.uplink.delivery import Delivery
from host_agent.uplink.late_cases import LateCases
from host_agent.uplink.mqtt import TAKEN_OVER, Broker, Connect, Connection, Listener
from host_agent.uplink.takeover import STANDING_S
from protocol.errors import PayloadError, ProtocolError
from protocol.messages import Receipt
from protocol.payloads import Case, DeviceHealth, DeviceState, Health, ReceiptPayload, Reckoned, RecordEvent, State
from protocol.quick_event import write_event
from protocol.quick_record import quick_parse
from protocol.record import Record
from protocol.topics import Down, Up, Window

log = logging.getLogger("agent.uplink")

HEALTH_EVERY_S = 5.0
STATE_EVERY_S = 60.0
"""The state is said again: a broker may have lost it, and with it the number of the session that health needs."""
HEALTH_SOON_S = 1.0
HISTORICAL_AFTER_MS = 60_000
WINDOW = 100
REFILL = WINDOW // 4
"""Records are read from the outbox when the window has room for so many: reading one at a time doubles the cost of each."""
MARK_MANY = 1000
MARK_WITHIN_S = 0.2
"""PUBACKs are noted so many or so long together, for each note is a durable commit, and one that the receipt overtakes is none.
One that is lost costs a repetition."""
_UNREADABLE = (ProtocolError, ValidationError, OverflowError, OSError, TypeError, AttributeError)
"""What a row raises whose values are not of the kind that was written."""
NO_RECEIPT = (
    "归集端没有回执，请检查归集程序是否运行、评价器密钥是否属于本大厅 "
    "no receipt from the collector; is it running, and is the device's key the hall's?"
)


class Publisher:
    """Call `step` often; it never waits."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        window: Window,
        outbox: Outbox,
        late_cases: LateCaseStore,
        absences: AbsenceStore,
        post: Post,
        receipt: Callable[[str, Receipt, Instant], None],
        connect: Connect,
        clocks: Callable[[], Instant],
        *,
        requests: Gate | None = None,
    ) -> None:
        self._requests = requests
        self._broker = broker
        self._client_id = client_id
        self._place = window
        self._outbox = outbox
        self._late_cases = LateCases(late_cases)
        self._absences = AbsenceReports(absences)
        self._post = post
        self._receipt = receipt
        self._connect = connect
        self._clocks = clocks
        self._delivery = Delivery(WINDOW, clocks(), outbox.latest_sent_run_ms())
        self._link: Connection | None = None
        self._number = 0
        self._session = ""
        self._since_ms = 0
        self._nothing_at: tuple[int, int] | None = None
        """Where the outbox had nothing to send: how often something had been put into it, and after which row."""
        self._acknowledged: list[int] = []
        self._mark_s = 0.0
        self._health_s = self._state_s = 0.0
        self._device: DeviceState | None = None
        self._journal: tuple[int, int, DeviceHealth] | None = None
        self._told: set[str] = set()
        self.is_connected = False
        self.trouble: str | None = None
        """Why there is no connection, or what the broker refuses, in words for a person."""
        self.refused_receipts = 0
        self.published = 0
        self.disputed = 0
        self._connected_s = 0.0

    def start(self, now: Instant) -> None:
        """Begin to connect."""
        self._number += 1
        number = self._number
        self.is_connected = False
        self._delivery.forget()

        def posted(what: Callable[..., None], *arguments: object) -> None:
            self._post(partial(self._if_current, number, partial(what, *arguments)))

        mids: deque[int] = deque()

        def published(mid: int) -> None:
            # one call for all acks that come until it runs: in a drain they come faster than calls can be made
            mids.append(mid)
            if len(mids) == 1:
                posted(self._acked, mids)

        self._link = self._connect(
            self._broker,
            self._client_id,
            WINDOW,
            self._place.all_down,
            self._place.up(Up.STATE),
            self._will,
            Listener(
                connected=lambda session: posted(self._connected, session),
                disconnected=lambda why: posted(self._disconnected, why),
                refused=lambda why: posted(self._complain, why),
                published=published,
                received=lambda topic, payload: posted(self._received, topic, payload),
            ),
        )
        self._link.start()
        self._since_ms = now.utc_ms

    def step(self, now: Instant) -> None:
        """Note what was acknowledged, publish what waits, resend what is overdue, replace a connection that is stuck."""
        before_ms = self._delivery.overdue_before_ms(now)
        if self._acknowledged and (before_ms is not None or self._is_mark_due(now)):
            self._outbox.mark_sent(self._acknowledged, self._delivery.run_ms(now))
            self._acknowledged.clear()
        if before_ms is not None:
            self._nothing_at = None
            disputed = self._outbox.give_up_disputed()
            if disputed:
                self.disputed += disputed
                log.error(
                    "%d 条记录的编号已被另一条记录占用，两台评价器是否使用同一编号？ records share their number with others that are "
                    "collected, and were kept there as evidence: do two devices bear one id?",
                    disputed,
                )
            again = self._outbox.send_again(before_ms)
            if again:
                self._delivery.sent_again(now)
                log.info("%d 条记录未收到回执，重新发送 records without a receipt are sent again", again)
                self._complain(NO_RECEIPT, now)
        if not self.is_connected:
            return
        if self.trouble == TAKEN_OVER and now.mono_s - self._connected_s > STANDING_S:
            self.trouble = None
        if self._delivery.is_stuck(now):
            log.warning("消息服务器未确认，重新连接 no PUBACK for too long: the connection is replaced")
            self._stop_link()
            self.start(now)
            return
        self._publish_records(now)
        self._late_cases.step(partial(self._publish, Up.CASE), now)
        self._absences.step(partial(self._publish, Up.ABSENCE), now)
        if now.mono_s >= self._health_s:
            self._health_s = now.mono_s + HEALTH_EVERY_S
            self._publish_health(now)
            if now.mono_s >= self._state_s:
                self._publish_state(now)

    def deadline_s(self) -> float:
        """Return the monotonic time by which `step` must be called."""
        due = [self._delivery.deadline_s()]
        if self.is_connected:
            due.append(self._health_s)
        if self._acknowledged:
            due.append(self._mark_s)
        return min(due)

    def device_changed(self, device: DeviceState | None, now: Instant) -> None:
        """Tell the collector which device is at this window now."""
        if device != self._device:
            self._device = device
            self._journal = None
            self._publish_state(now)

    def device_said(self, waiting: int, free: int, health: DeviceHealth) -> None:
        """Take the device's word on its journal and itself, for the next health message."""
        before = self._journal
        if before is None or before[0] != waiting or before[2].conditions != health.conditions:
            self._health_s = 0.0
        self._journal = (waiting, free, health)

    def look_again(self) -> None:
        """Send also what was put back to *to send*."""
        self._delivery.after_id = 0
        self._nothing_at = None

    def receipt_refused(self, device: str, receipt: Receipt, taken_seq: int, now: Instant) -> int:
        """Send again what a receipt that the device has refused seemed to release; return how many records that are."""
        count = self._outbox.put_back(device, receipt, taken_seq, self._delivery.run_ms(now))
        self.look_again()
        return count

    @property
    def remote_counters(self) -> dict[str, int]:
        """How requests from afar were met."""
        return dict(self._requests.counters) if self._requests is not None else {}

    def stop(self, now: Instant) -> None:
        """Note what was acknowledged and say goodbye."""
        try:
            if self._acknowledged:
                self._outbox.mark_sent(self._acknowledged, self._delivery.run_ms(now))
        except sqlite3.Error as error:
            log.debug("what was sent cannot be noted: %s; it is sent again after the next start", error)
        self._acknowledged.clear()
        if self._link is not None and self.is_connected:
            # a clean goodbye sends no will, so the last state is said in person
            self._link.publish(self._place.up(Up.STATE), self._state(now, online=False).to_json(), retain=True)
        self._stop_link()

    # --- inside ----------------------------------------------------------------------------------------------

    def _if_current(self, number: int, what: Callable[[Instant], None], now: Instant) -> None:
        if number == self._number:
            what(now)

    def _stop_link(self) -> None:
        self._number += 1
        self.is_connected = False
        if self._link is not None:
            self._link.stop()
            self._link = None

    def _connected(self, session: str, now: Instant) -> None:
        self._session = session
        self._since_ms = now.utc_ms
        self._connected_s = now.mono_s
        self.is_connected = True
        self.trouble = None
        self._told.clear()
        self._delivery.connected(now)
        self._late_cases.connected()
        self._absences.connected()
        self._health_s = 0.0
        log.info("connected to the broker %s:%d", self._broker.host, self._broker.port)
        self._publish_state(now)

    def _disconnected(self, why: str, now: Instant) -> None:
        self.is_connected = False
        self._complain(why, now)

    def _complain(self, why: str, now: Instant) -> None:  # noqa: ARG002  # every posted call gets the time
        """Warn once for each cause; a broker that refuses every second must not fill the log."""
        self.trouble = why
        log.log(logging.DEBUG if why in self._told else logging.WARNING, "%s", why)
        self._told.add(why)

    def _acked(self, mids: deque[int], now: Instant) -> None:
        while mids:
            row_id = self._delivery.acknowledged(mids.popleft())
            if row_id is not None:
                if not self._acknowledged:
                    self._mark_s = now.mono_s + MARK_WITHIN_S
                self._acknowledged.append(row_id)

    def _is_mark_due(self, now: Instant) -> bool:
        """Tell whether to note what was acknowledged: many together, or after a while."""
        return not self.is_connected or len(self._acknowledged) >= MARK_MANY or now.mono_s >= self._mark_s

    def _publish(self, what: Up, payload: bytes) -> None:
        assert self._link is not None  # noqa: S101  # is_connected implies a link
        self._link.publish(self._place.up(what), payload)

    def _received(self, topic: str, payload: bytes, now: Instant) -> None:
        if topic == self._place.down(Down.CASE):
            self._late_cases.received(payload)
            return
        if topic == self._place.down(Down.REQUEST):
            self._asked(payload, now)
            return
        if topic == self._place.down(Down.ABSENCE):
            self._absences.received(payload)
            return
        try:
            word = ReceiptPayload.from_json(payload)
        except PayloadError as error:
            self.refused_receipts += 1
            log.warning("what came on %s is no receipt (%s); check what else publishes there", topic, error)
            return
        receipt = Receipt(
            next_seq=word.next_seq,
            record_mac=bytes.fromhex(word.record_mac),
            issued_ms=word.issued_ms,
            mac=bytes.fromhex(word.mac),
        )
        if not self._outbox.fits(word.device, receipt):
            self.refused_receipts += 1
            log.debug("receipt for %s up to %d fits no record here; ignored", word.device, word.next_seq)
            return
        # to the device first: it waits, and whether the receipt is genuine is for it to say; what is not noted here is sent again
        self._receipt(word.device, receipt, now)
        self._outbox.receipt(word.device, receipt)
        self._delivery.receipted()
        self._told.discard(NO_RECEIPT)
        if self.trouble == NO_RECEIPT:
            self.trouble = None
        self._say_health_soon(now)

    def _asked(self, payload: bytes, now: Instant) -> None:
        answer = self._requests.received(payload, self._session, now) if self._requests is not None else None
        if answer is not None and self._link is not None:
            self._link.publish(self._place.up(Up.ANSWER), answer)

    def _publish_records(self, now: Instant) -> None:
        assert self._link is not None  # noqa: S101  # is_connected implies a link
        while self._delivery.room >= REFILL:
            place = (self._outbox.puts, self._delivery.after_id)
            if place == self._nothing_at:
                return
            rows = self._outbox.to_send(self._delivery.after_id, self._delivery.room)
            if not rows:
                self._nothing_at = place
                return
            for row in rows:
                if self._delivery.is_in_flight(row.id):
                    self._delivery.after_id = row.id
                    continue
                payload = self._event(row, now)
                if payload is None:
                    self._delivery.after_id = row.id
                    continue
                number = self._link.publish(self._place.up(Up.RECORD), payload)
                self._delivery.published(row.id, number, now)
                self.published += 1
                self._say_health_soon(now)

    def _say_health_soon(self, now: Instant) -> None:
        """Have the next health message follow what has just changed, without one for every record."""
        self._health_s = min(self._health_s, now.mono_s + HEALTH_SOON_S)

    def _event(self, row: Row, now: Instant) -> bytes | None:
        """Return the message for a row; None for one that is damaged, which the device will be asked for again.

        All of it was checked when it came, so the database holds something else by now. A rating goes without its case rather
        than not at all.
        """
        try:
            record = quick_parse(row.raw)
            try:
                return self._written(row, record, now)
            except _UNREADABLE as error:
                self._complain(
                    f"事项信息已损坏，评价照常发送 a case is damaged here, the rating is sent without it: {error}", now
                )
                return self._written(row._replace(case_json=None, reckoned_json=None), record, now)
        except _UNREADABLE as error:
            self._complain(f"记录已损坏，向评价器重新索取 a record is damaged here and is asked for again: {error}", now)
            self._outbox.discard(row.id)
            return None

    def _written(self, row: Row, record: Record, now: Instant) -> bytes:
        case = Case.from_json(row.case_json.encode()) if row.case_json else None
        reckoned = Reckoned.from_json(row.reckoned_json.encode()) if row.reckoned_json else None
        historical = bool(row.is_replayed) or now.utc_ms - row.received_ms > HISTORICAL_AFTER_MS
        case_json = case.to_json().decode() if case is not None else None
        source = self._place.path
        quick = write_event(source, row.device, record, row.raw, row.received_ms, case_json, historical, row.reckoned_json)
        if quick is not None:
            return quick
        return RecordEvent.of(source, row.device, record, row.raw, row.received_ms, case, historical, reckoned).to_json()

    def _will(self, session: str) -> bytes:
        state = State(session=session, online=False, since_ms=self._clocks().utc_ms, agent=AGENT_VERSION, device=None)
        return state.to_json()

    def _state(self, now: Instant, *, online: bool) -> State:
        return State(
            session=self._session,
            online=online,
            since_ms=self._since_ms if online else now.utc_ms,
            agent=AGENT_VERSION,
            device=self._device if online else None,
        )

    def _publish_state(self, now: Instant) -> None:
        self._state_s = now.mono_s + STATE_EVERY_S
        if self._link is not None and self.is_connected:
            self._link.publish(self._place.up(Up.STATE), self._state(now, online=True).to_json(), retain=True)

    def _publish_health(self, now: Instant) -> None:
        assert self._link is not None  # noqa: S101  # is_connected implies a link
        waiting = self._outbox.waiting()
        health = Health(
            session=self._session,
            at_ms=now.utc_ms,
            journal_waiting=self._journal[0] if self._journal else None,
            journal_free=self._journal[1] if self._journal else None,
            outbox_to_send=waiting.to_send,
            outbox_sent=waiting.sent,
            oldest_waiting_ms=waiting.oldest_for_ms(now.utc_ms),
            device=self._journal[2] if self._journal else None,
        )
        self._link.publish(self._place.up(Up.HEALTH), health.to_json(), qos=0)
