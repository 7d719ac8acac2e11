"""What business systems ask for: evaluations, staff, pause; and how the device's records end evaluations.

Runs in the agent's one thread. Every method that asks the device for something returns a Future that is done when the device has
answered. Staff and pause are remembered, so that a device that was away is told again.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from sqlite3 import Connection, Error
from typing import Any, TypeVar

from host_agent.errors import RequestError
from host_agent.evaluations import Evaluation, EvaluationState
from host_agent.instant import Instant
from host_agent.link.attachment import Attachment
from host_agent.link.events import Answered
from host_agent.link.trace import Trace
from host_agent.notices import EvaluationChanged, FreeRatingGiven, Notices, WindowChanged
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import FreeRating, LateCaseStore
from protocol.levels import Level
from protocol.messages import (
    Cancel,
    CancelReason,
    Condition,
    ErrorCode,
    Language,
    Message,
    Open,
    Pause,
    PauseReason,
    Prompt,
    Resume,
    Say,
    SignIn,
    SignOut,
    Status,
)
from protocol.payloads import Case
from protocol.record import Kind, Record, RecordFlag
from protocol.signing import NO_DIGEST, context_digest

log = logging.getLogger("agent.desk")

T = TypeVar("T")

_REFUSALS = {
    ErrorCode.JOURNAL_FULL: "评价器存储已满，等待归集 the device's journal is full; it waits for the collection",
    ErrorCode.JOURNAL_FAULT: "评价器存储故障，请联系运维 the device's flash fails; call the technician",
    ErrorCode.VALUE: "评价器不接受此内容，例如没有这段语音 the device does not take this: has it such a text, in its voice pack?",
    ErrorCode.UNKNOWN_TYPE: "评价器固件过旧，请更新固件 the device's firmware is too old for this; update it",
    ErrorCode.EVALUATION: "评价器上没有这次评价 the device does not know this evaluation",
}


class Desk:
    """The window's business, over one attachment and one store."""

    def __init__(
        self,
        attachment: Attachment,
        store: EvaluationStore,
        late_cases: LateCaseStore,
        entropy: Callable[[int], bytes],
        *,
        shows_level: bool = False,
    ) -> None:
        self._entropy = entropy
        self._late_cases = late_cases
        self._shows_level = shows_level
        self._attachment = attachment
        self._store = store
        self._asked: dict[int, Callable[[Answered, Instant], None]] = {}
        self._unfinished = {evaluation.id: evaluation for evaluation in store.unfinished()}
        self._opening: set[str] = set()
        """Evaluations whose opening the device has not answered yet."""
        self._waiters: dict[str, list[Future[Evaluation]]] = {}
        self.staff: str | None = None
        self.paused: PauseReason | None = None
        self._adopts = False
        self._device: str | None = None
        self.notices = Notices()
        self._told = self.window()

    # --- business systems ------------------------------------------------------------------------------------

    def open(
        self, case: Case | None, timeout_ms: int, language: Language, key: str | None, staff: str | None, now: Instant
    ) -> Future[Evaluation]:
        """Open one evaluation; the same `key` again returns the same evaluation, with another case it is refused.

        A member of staff who is named and does not serve here yet is signed in first, so that the rating is theirs; if the
        device does not take that, it is not asked to open.
        """
        future: Future[Evaluation] = Future()
        known = self._store.by_key(key) if key is not None else None
        if known is not None:
            if known.case != case:
                raise RequestError(409, "key_reused", "此键已用于另一办件 this key was used for another case")
            future.set_result(self._unfinished.get(known.id, known))
            return future
        self._must_be_talking()
        serves = staff or self.staff
        evaluation = Evaluation(
            id=uuid.UUID(bytes=self._entropy(16), version=4).hex,
            case=case,
            timeout_ms=timeout_ms,
            created_ms=now.utc_ms,
            key=key,
            staff=serves,
        )
        self._store.add(evaluation)
        self._unfinished[evaluation.id] = evaluation
        self._opening.add(evaluation.id)
        binary = bytes.fromhex(evaluation.id)
        message = Open(
            evaluation=binary,
            context_digest=context_digest(binary, case.fields()) if case is not None else NO_DIGEST,
            timeout_ms=timeout_ms,
            language=language,
        )

        def answered(answer: Answered, then: Instant) -> None:
            if evaluation.id not in self._opening:
                return  # failed with its signing in already
            self._opening.discard(evaluation.id)
            current = self._unfinished.get(evaluation.id)
            if current is None:  # its record came before the answer
                _resolve(future, self.get(evaluation.id))
            elif _is_done(answer):
                current = self._opened(current)
                _resolve(future, current)
            else:
                _refuse(future, answer)
                self._change(current.failed(_word(answer), then.utc_ms))

        def signed_in(answer: Answered, then: Instant) -> None:
            if _is_done(answer):
                self.staff = serves
                self._tell_window()
            else:
                self._attachment.withdraw(opening)
                self._asked.pop(opening, None)
                answered(answer, then)

        if serves is not None and serves != self.staff:
            self._ask(SignIn(staff=serves), signed_in, now)
        opening = self._ask(message, answered, now)  # right behind it: nobody else signs in between
        return future

    def cancel(self, evaluation_id: str, now: Instant) -> Future[Evaluation]:
        """Withdraw an evaluation. One that has ended stays as it ended: the answer says how."""
        evaluation = self.get(evaluation_id)
        future: Future[Evaluation] = Future()
        if evaluation.state.is_final:
            future.set_result(evaluation)
            return future
        self._must_be_talking()

        def answered(answer: Answered, _then: Instant) -> None:
            if not _is_done(answer):
                _refuse(future, answer)
            elif self.get(evaluation_id).state.is_final:
                _resolve(future, self.get(evaluation_id))
            else:  # done at the device; the record that says how it ended is on its way
                self._waiters.setdefault(evaluation_id, []).append(future)

        self._ask(Cancel(evaluation=bytes.fromhex(evaluation_id), reason=CancelReason.BY_STAFF), answered, now)
        return future

    def get(self, evaluation_id: str) -> Evaluation:
        """Return an evaluation; RequestError 404."""
        evaluation = self._unfinished.get(evaluation_id) or self._store.get(evaluation_id)
        if evaluation is None:
            raise RequestError(404, "unknown_evaluation", "没有这次评价 there is no such evaluation")
        return evaluation

    def open_evaluation(self) -> Evaluation | None:
        """Return the evaluation that the citizen is asked to rate now."""
        return next((one for one in self._unfinished.values() if one.state is EvaluationState.OPENED), None)

    def window(self) -> WindowChanged:
        """Return who serves, whether the window serves, and which device is connected."""
        return WindowChanged(self.staff, self.paused is not None, self._device)

    @property
    def trace(self) -> Trace:
        """What goes over the line, for whoever watches."""
        return self._attachment.trace

    def free_ratings(self, limit: int) -> list[FreeRating]:
        """Return the latest ratings that nobody was asked for, the latest first."""
        return self._late_cases.recent(limit)

    def name_case(self, device: str, seq: int, case: Case, now: Instant) -> FreeRating:
        """Name the case of a rating that is bound to none; the same again changes nothing. RequestError 404 and 409."""
        rating = self._late_cases.rating(device, seq)
        if rating is None:
            raise RequestError(
                404, "unknown_rating", "没有这条可补登的评价 there is no such rating here that a case can be named for"
            )
        if rating.case is None:
            self._late_cases.name(rating, case, self.staff, now.utc_ms)
        elif rating.case != case:
            raise RequestError(409, "case_named", "该评价已补登另一办件 another case was named for this rating already")
        return replace(rating, case=case)

    def level(self, evaluation_id: str) -> Level | None:
        """Return how an evaluation was rated where the hall has switched that on, None everywhere else."""
        return self._store.level(evaluation_id) if self._shows_level else None

    def wait(self, evaluation_id: str) -> Future[Evaluation]:
        """Return a future that is done when the evaluation has ended."""
        evaluation = self.get(evaluation_id)
        future: Future[Evaluation] = Future()
        if evaluation.state.is_final:
            future.set_result(evaluation)
        else:
            self._waiters.setdefault(evaluation_id, []).append(future)
        return future

    def no_longer_waits(self, evaluation_id: str, future: Future[Evaluation]) -> None:
        """Drop a waiter whose caller has gone."""
        waiters = self._waiters.get(evaluation_id, [])
        if future in waiters:
            waiters.remove(future)
        if not waiters:
            self._waiters.pop(evaluation_id, None)

    def sign_in(self, staff: str, now: Instant) -> Future[None]:
        """Name who serves at this window."""
        return self._simple(SignIn(staff=staff), lambda: setattr(self, "staff", staff), now)

    def sign_out(self, now: Instant) -> Future[None]:
        """Nobody serves at this window."""
        return self._simple(SignOut(), lambda: setattr(self, "staff", None), now)

    def pause(self, reason: PauseReason, now: Instant) -> Future[None]:
        """The window stops serving for a while."""
        return self._simple(Pause(reason=reason), lambda: setattr(self, "paused", reason), now)

    def resume(self, now: Instant) -> Future[None]:
        """The window serves again."""
        return self._simple(Resume(), lambda: setattr(self, "paused", None), now)

    def say(self, prompt: Prompt, number: int, language: Language, now: Instant) -> Future[None]:
        """Speak to the citizen; `number` is which of the hall's own texts, 0 for a prompt that every device knows."""
        return self._simple(Say(prompt=prompt, number=number, language=language), lambda: None, now)

    # --- the device ------------------------------------------------------------------------------------------

    def answered(self, answer: Answered, now: Instant) -> None:
        """Take the device's answer to a request."""
        handler = self._asked.pop(answer.correlation, None)
        if handler is not None:
            handler(answer, now)

    def connected(self, device: str, now: Instant) -> None:
        """Tell a device that has come back who serves here and whether the window serves.

        An agent that has just started knows neither; then the device's first status says so.
        """
        self._device = device
        self._tell_window()
        self._adopts = self.staff is None and self.paused is None
        if self.staff is not None:
            self.sign_in(self.staff, now)
        if self.paused is not None:
            self.pause(self.paused, now)

    def disconnected(self, now: Instant) -> None:
        """Fail what the device will not answer any more."""
        self._device = None
        self._tell_window()
        asked, self._asked = self._asked, {}
        trouble: Error | None = None
        for correlation, handler in asked.items():
            try:
                handler(Answered(correlation, None, gave_up=True), now)
            except Error as error:  # each caller gets an answer, whatever the database says to the one before
                trouble = error
        if trouble is not None:
            raise trouble

    def recorded(self, connection: Connection, records: Sequence[Record], now: Instant) -> list[Evaluation]:
        """End evaluations as the records say, inside the transaction that stores the records; return what changed."""
        changed: dict[str, Evaluation] = {}
        for record in records:
            evaluation_id = record.evaluation.hex()
            before = changed.get(evaluation_id) or self._unfinished.get(evaluation_id)
            if before is None and any(record.evaluation):
                before = self._store.get(evaluation_id)
            if before is not None and (after := before.after_record(record.kind, now.utc_ms)) is not before:
                changed[evaluation_id] = after
        for evaluation in changed.values():
            self._store.save_in(connection, evaluation)
        return list(changed.values())

    def announce(self, changed: Sequence[Evaluation], device: str = "", records: Sequence[Record] = ()) -> None:
        """Tell those who wait; after the transaction, so that nobody hears what is not durable."""
        for evaluation in changed:
            self._unfinished.pop(evaluation.id, None)
            for future in self._waiters.pop(evaluation.id, []):
                _resolve(future, evaluation)
            self.notices.say(EvaluationChanged(evaluation))
        for record in records:
            if record.kind is Kind.RATING:
                self._tell_rating(device, record)

    def _tell_rating(self, device: str, record: Record) -> None:
        """Tell of a rating that no evaluation asked for; a change of mind is nobody's business but the level's."""
        if not record.flags & RecordFlag.REVISION:
            if record.flags & RecordFlag.FREE_STANDING:
                self.notices.say(FreeRatingGiven(device, record.seq, record.utc_ms or None, record.staff or None))
        elif self._shows_level and (known := self._store.get(record.evaluation.hex())) is not None:
            self.notices.say(EvaluationChanged(known))

    def reported(self, status: Status, next_seq: int, now: Instant) -> None:
        """Find evaluations that the device does not know any more, once all its records are here.

        Whether an evaluation that was being opened when an earlier agent ended was opened is seen here too.
        """
        if self._adopts:
            self._adopts = False
            if not self._asked:  # nobody has asked for anything else meanwhile
                self.staff = status.staff or None
                self.paused = PauseReason.OTHER if status.conditions & Condition.PAUSED else None
                self._tell_window()
        if status.next_seq != next_seq:
            return
        for evaluation in list(self._unfinished.values()):
            if evaluation.id in self._opening:
                continue
            if status.evaluation.hex() == evaluation.id:
                self._opened(evaluation)
            else:
                self._change(evaluation.device_lost(now.utc_ms))

    # --- inside ----------------------------------------------------------------------------------------------

    def _opened(self, evaluation: Evaluation) -> Evaluation:
        """Note that the device asks the citizen; not stored, see `_change`."""
        opened = self._unfinished[evaluation.id] = evaluation.opened()
        if opened is not evaluation:
            self.notices.say(EvaluationChanged(opened))
        return opened

    def _tell_window(self) -> None:
        window = self.window()
        if window != self._told:
            self._told = window
            self.notices.say(window)

    def _change(self, evaluation: Evaluation) -> None:
        """End an evaluation for which there is no record. `opened` is not stored: a restarted agent asks the device."""
        self._store.save(evaluation)
        self.announce([evaluation])

    def _must_be_talking(self) -> None:
        if not self._attachment.is_talking:
            why = self._attachment.trouble or "正在连接 connecting"
            raise RequestError(503, "no_device", f"评价器未连接 no device at this window: {why}")

    def _ask(self, message: Message, answered: Callable[[Answered, Instant], None], now: Instant) -> int:
        number = self._attachment.request(message, now)
        self._asked[number] = answered
        return number

    def _simple(self, message: Message, done: Callable[[], None], now: Instant) -> Future[None]:
        self._must_be_talking()
        future: Future[None] = Future()

        def answered(answer: Answered, _then: Instant) -> None:
            if not _is_done(answer):
                _refuse(future, answer)
            else:
                done()
                self._tell_window()
                _resolve(future, None)

        self._ask(message, answered, now)
        return future


def _is_done(answer: Answered) -> bool:
    return answer.error is None and not answer.gave_up


def _word(answer: Answered) -> str:
    return "no_answer" if answer.error is None else answer.error.name.lower()


def _refuse(future: Future[Any], answer: Answered) -> None:
    if answer.error is None:
        error = RequestError(504, "no_answer", "评价器没有应答，请检查连线 the device does not answer; check the cable")
    else:
        text = _REFUSALS.get(answer.error, f"评价器拒绝了请求 the device refuses: {answer.error.name.lower()}")
        error = RequestError(409, answer.error.name.lower(), text)
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _resolve(future: Future[T], value: T) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(value)
