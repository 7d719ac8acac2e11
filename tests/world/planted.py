"""Bugs to be planted: each breaks one promise by a line or two of the product, as somebody tired might.

`kinds` are the faults under which the bug shows; others would often heal it, as they should: a record that the agent forgets is
still at the device. `besides` is whatever else the bug needs to show, such as a journal that fills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from collector.ingest import intake, receipts, verify
from collector.store import database, records
from firmware.evaluator import journal, link, wire
from firmware.evaluator.device import Device
from firmware.evaluator.session import NOBODY, Session
from host_agent import absences, evaluations
from host_agent.agent import Agent
from host_agent.desk import Desk
from host_agent.instant import Instant
from host_agent.store import outbox
from host_agent.store.absences import AbsenceStore
from host_agent.store.schema import RECEIPTED
from host_agent.uplink import publisher
from host_agent.uplink.absences import AbsenceReports
from host_agent.uplink.late_cases import LateCases
from protocol.payloads import Absence, LateCase
from protocol.record import Kind
from simulator.world import hall

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug: the promise it breaks, how it is planted, and the faults under which it shows."""

    promise: str
    plant: Callable[[Patch], None]
    kinds: frozenset[str]
    besides: Callable[[Patch], None] = field(default=lambda _patch: None)

    def __str__(self) -> str:
        return self.plant.__name__


def _thanks_before_the_record_is_durable(patch: Patch) -> None:
    judged = Device._press

    def press(self: Device, now: int, level: int) -> None:
        self._feedback.thank(now)
        judged(self, now, level)

    patch.setattr(Device, "_press", press)


def _a_number_is_used_twice(patch: Patch) -> None:
    recovered = journal.Journal.recover

    def recover(self: journal.Journal) -> None:
        recovered(self)
        if self.next_seq > self.receipt_seq:
            self.next_seq -= 1

    patch.setattr(journal.Journal, "recover", recover)


def _the_agents_word_releases(patch: Patch) -> None:
    def acknowledged(self: Device, next_seq: int) -> None:
        self.journal.release(next_seq)

    def read(self: journal.Journal, seq: int, buffer: Any) -> bool:
        return seq >= self.receipt_seq and held(self, seq, buffer)

    held = journal.Journal.read
    patch.setattr(Device, "acknowledged", acknowledged)
    patch.setattr(journal.Journal, "read", read)


def _a_full_journal_overwrites(patch: Patch) -> None:
    receipt = journal.Journal.receipt

    def idle(self: journal.Journal) -> None:
        if self.free() < 40:
            self.receipt_seq = self.next_seq
        idled(self)

    idled = journal.Journal.idle
    patch.setattr(journal.Journal, "idle", idle)
    patch.setattr(journal.Journal, "receipt", receipt)


def _small_journal(patch: Patch) -> None:
    patch.setattr(hall, "SECTORS", 4)


def _refuses_although_there_is_room(patch: Patch) -> None:
    append = journal.Journal.append

    def sometimes(self: journal.Journal, kind: int, *arguments: Any) -> int:
        return 0 if kind == wire.KIND_RATING and self.next_seq % 7 == 0 else append(self, kind, *arguments)

    patch.setattr(journal.Journal, "append", sometimes)


def _never_goes_back(patch: Patch) -> None:
    patch.setattr(link, "RETRY_FIRST_MS", 1 << 28)
    patch.setattr(link, "RETRY_MOST_MS", 1 << 28)


def _records_the_evaluation_before(patch: Patch) -> None:
    made = Device._record

    def record(self: Device, kind: int, *arguments: Any, **named: Any) -> int:
        if kind == wire.KIND_RATING and self._session.ended != NOBODY and arguments:
            arguments = (*arguments[:5], self._session.ended, *arguments[6:])
        return made(self, kind, *arguments, **named)

    patch.setattr(Device, "_record", record)


def _a_change_of_mind_keeps_the_old_level(patch: Patch) -> None:
    def judge(self: Session, level: int) -> tuple[int, int, int]:
        kind, flags, refers_to = judged(self, level)
        return (0, 0, 0) if flags & wire.FLAG_REVISION else (kind, flags, refers_to)

    def press(self: Device, now: int, level: int) -> None:
        pressed(self, now, level)
        self._feedback.thank(now)

    judged, pressed = Session.judge, Device._press
    patch.setattr(Session, "judge", judge)
    patch.setattr(Device, "_press", press)


def _a_puback_is_taken_for_a_receipt(patch: Patch) -> None:
    def mark_sent(self: outbox.Outbox, ids: Any, run_ms: int) -> None:
        noted(self, ids, run_ms)
        with self._writer.transaction() as connection:
            connection.executemany("UPDATE records SET state = ? WHERE id = ?", [(RECEIPTED, row_id) for row_id in ids])

    noted = outbox.Outbox.mark_sent
    patch.setattr(outbox.Outbox, "mark_sent", mark_sent)


def _a_receipt_that_the_device_refuses_stands(patch: Patch) -> None:
    patch.setattr(outbox.Outbox, "put_back", lambda _self, _device, _receipt, _taken_seq, _run_ms: 0)


def _nothing_is_sent_again(patch: Patch) -> None:
    def nothing(_self: outbox.Outbox, _before_ms: int) -> int:
        return 0

    patch.setattr(outbox.Outbox, "send_again", nothing)


def _what_came_while_the_disk_was_full_is_forgotten(patch: Patch) -> None:
    def start_over(self: Agent, _now: Any) -> None:
        self._store_trouble.overcome()

    def ask_for_hole(_self: Agent, _status: Any, _now: Any) -> None:
        """Ask for nothing: this second net would catch what falls through the first."""

    patch.setattr(Agent, "_start_over", start_over)
    patch.setattr(Agent, "_ask_for_hole", ask_for_hole)


def _expired_is_told_as_rated(patch: Patch) -> None:
    patch.setitem(evaluations._BY_RECORD, Kind.EXPIRED, evaluations.EvaluationState.RATED)


def _ends_are_not_announced(patch: Patch) -> None:
    def announce(_self: Desk, _changed: Any) -> None:
        """Tell nobody."""

    patch.setattr(Desk, "announce", announce)


def _signatures_are_not_checked(patch: Patch) -> None:
    def fine(_key: bytes, _record: Any, _raw: bytes) -> None:
        """Believe everything."""

    patch.setattr(verify, "verify_record", fine)


def _words_beside_a_record_are_believed(patch: Patch) -> None:
    patch.setattr(verify, "_contradiction", lambda _window, _event, _record: "")


def _any_case_will_do(patch: Patch) -> None:
    patch.setattr(verify, "context_digest", lambda _evaluation, _fields: _Anything())


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def _a_commit_is_not_synced(patch: Patch) -> None:
    listen = database._explicit_transactions

    def unsynced(engine: Any, begin: str, pragmas: list[str]) -> None:
        listen(engine, begin, ["synchronous=NORMAL" if pragma == "synchronous=FULL" else pragma for pragma in pragmas])

    patch.setattr(database, "_explicit_transactions", unsynced)


def _a_receipt_reaches_over_a_gap(patch: Patch) -> None:
    def whole_until(connection: Any, device: str, seq: int, ceiling: int) -> Any:
        return records.before(connection, device, ceiling + 1, seq)

    patch.setattr(records, "whole_until", whole_until)


def _a_journal_met_in_its_middle_is_believed_whole(patch: Patch) -> None:
    def begin(connection: Any, position: Any, floor: int, ceiling: int) -> int | None:
        first = records.first_in(connection, position.device, floor, ceiling)
        return max(position.next_seq - 1, first[0]) if first else None

    patch.setattr(receipts, "_begin", begin)


def _the_collection_forgets_what_it_holds(patch: Patch) -> None:
    patch.setattr(records, "held", lambda _connection, _device, _seqs: {})


def _the_state_is_said_once(patch: Patch) -> None:
    patch.setattr(publisher, "STATE_EVERY_S", 1e9)


def _a_later_copy_replaces_the_case(patch: Patch) -> None:
    patch.setattr(intake, "_knows_more", lambda now, _before: now is not None)


def _a_late_case_is_sent_once(patch: Patch) -> None:
    patch.setattr(LateCases, "connected", lambda _self: None)


def _a_late_case_that_was_sent_is_done_with(patch: Patch) -> None:
    step = LateCases.step

    def sent(self: LateCases, publish: Callable[[bytes], object], now: Instant) -> None:
        def publish_and_forget(payload: bytes) -> None:
            publish(payload)
            word = LateCase.from_json(payload)
            self._store.answered(word.device, word.seq, is_kept=True)

        step(self, publish_and_forget, now)

    patch.setattr(LateCases, "step", sent)


def _soon_over(patch: Patch) -> None:
    patch.setattr(absences, "STEADY_S", 0.2)


def _an_absence_that_was_sent_is_done_with(patch: Patch) -> None:
    step = AbsenceReports.step

    def sent(self: AbsenceReports, publish: Callable[[bytes], object], now: Instant) -> None:
        def publish_and_forget(payload: bytes) -> None:
            publish(payload)
            self._store.answered(Absence.from_json(payload).id, is_over=True, is_first=True)

        step(self, publish_and_forget, now)

    patch.setattr(AbsenceReports, "step", sent)


def _an_absence_is_sent_once(patch: Patch) -> None:
    patch.setattr(AbsenceReports, "connected", lambda _self: None)


def _an_agent_forgets_its_last_sign_of_life(patch: Patch) -> None:
    patch.setattr(AbsenceStore, "sign", lambda _self: None)


def _a_device_that_is_back_is_absent_until_that_is_believed(patch: Patch) -> None:
    until = absences._Track.until

    def later(self: absences._Track, at: Instant) -> Absence:
        self._returned = None
        return until(self, at)

    patch.setattr(absences._Track, "until", later)


BUGS = [
    Bug("I1", _thanks_before_the_record_is_durable, frozenset({"power cut in flash"})),
    Bug("I2", _the_agents_word_releases, frozenset({"agent's disk lost", "broker forgets"})),
    Bug("I2", _a_commit_is_not_synced, frozenset({"collector's power cut"})),
    Bug("I2", _a_receipt_reaches_over_a_gap, frozenset({"broker forgets"})),
    Bug("I2", _a_journal_met_in_its_middle_is_believed_whole, frozenset({"broker forgets"})),
    Bug("I3", _a_puback_is_taken_for_a_receipt, frozenset({"broker forgets"})),
    Bug("I3", _a_receipt_that_the_device_refuses_stands, frozenset({"receipt forged", "broker forgets"})),
    Bug("I3", _nothing_is_sent_again, frozenset({"broker forgets"})),
    Bug("I3", _what_came_while_the_disk_was_full_is_forgotten, frozenset({"agent's disk full"})),
    Bug("I3", _never_goes_back, frozenset({"bad line"})),
    Bug("I4", _the_collection_forgets_what_it_holds, frozenset({"bad broker"})),
    Bug("I5", _a_number_is_used_twice, frozenset({"power cut", "unplugged"})),
    Bug("I5", _signatures_are_not_checked, frozenset({"message forged"})),
    Bug("I5", _words_beside_a_record_are_believed, frozenset({"message forged"})),
    Bug("I6", _any_case_will_do, frozenset({"message forged"})),
    Bug("I6", _a_later_copy_replaces_the_case, frozenset({"message forged"})),
    Bug("I6", _records_the_evaluation_before, frozenset()),
    Bug("I6", _a_change_of_mind_keeps_the_old_level, frozenset()),
    Bug("I8", _expired_is_told_as_rated, frozenset()),
    Bug("I8", _ends_are_not_announced, frozenset()),
    Bug("I9", _a_full_journal_overwrites, frozenset({"collector stopped", "agent's disk lost"}), _small_journal),
    Bug("I9", _refuses_although_there_is_room, frozenset()),
    Bug("late cases", _a_late_case_is_sent_once, frozenset({"broker forgets"})),
    Bug("late cases", _a_late_case_that_was_sent_is_done_with, frozenset({"broker forgets"})),
    Bug("absences", _an_absence_that_was_sent_is_done_with, frozenset({"unplugged", "broker forgets"}), _soon_over),
    Bug("absences", _an_absence_is_sent_once, frozenset({"unplugged", "broker forgets"}), _soon_over),
    Bug("absences", _an_agent_forgets_its_last_sign_of_life, frozenset({"agent killed"})),
    Bug("absences", _a_device_that_is_back_is_absent_until_that_is_believed, frozenset({"unplugged"})),
    Bug("windows", _the_state_is_said_once, frozenset({"broker forgets"})),
]
"""What must be found. The first word is the invariant of the architecture, or what else was promised."""
