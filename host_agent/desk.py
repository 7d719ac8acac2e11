"""What business systems ask for: evaluations, staff, pause; and how the device's records end evaluations.

Runs in the agent's one thread. Every method that asks the device for something returns a Future that is done when the device has
answered. Staff and pause are remembered, so that a device that was away is told again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from sqlite3 import Connection

from host_agent.device_requests import DeviceRequests, is_done, refuse, resolve, word
from host_agent.errors import RequestError
from host_agent.evaluations import Evaluation, EvaluationState
from host_agent.free_ratings import FreeRatings
from host_agent.instant import Instant
from host_agent.link.attachment import Attachment
from host_agent.link.events import Answered
from host_agent.link.trace import Trace
from host_agent.notices import EvaluationChanged, FreeRatingGiven, Notices, WindowChanged
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import LateCaseStore
from protocol.levels import Level
from protocol.messages import (
    Cancel,
    CancelReason,
    Condition,
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
        self._shows_level = shows_level
        self._attachment = attachment
        self._requests = DeviceRequests(attachment)
        self.free_ratings = FreeRatings(late_cases)
        self._store = store
        self._unfinished = {evaluation.id: evaluation for evaluation in store.unfinished()}
        self._opening: dict[str, int] = {}
        """Evaluations whose opening the device has not answered yet, each with the number of that request."""
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
        self._requests.must_be_possible()
        serves = staff or self.staff
        evaluation = self._begin(case, timeout_ms, key, serves, now)
        if serves is not None and serves != self.staff:
            self._requests.ask(SignIn(staff=serves), partial(self._opener_signed_in, serves, evaluation, future), now)
        message = Open(
            evaluation=bytes.fromhex(evaluation.id),
            context_digest=_digest(evaluation),
            timeout_ms=timeout_ms,
            language=language,
        )
        # right behind the signing in: nobody else signs in between
        self._opening[evaluation.id] = self._requests.ask(message, partial(self._open_answered, evaluation, future), now)
        return future

    def cancel(self, evaluation_id: str, now: Instant) -> Future[Evaluation]:
        """Withdraw an evaluation. One that has ended stays as it ended: the answer says how."""
        evaluation = self.get(evaluation_id)
        future: Future[Evaluation] = Future()
        if evaluation.state.is_final:
            future.set_result(evaluation)
            return future
        self._requests.must_be_possible()

        def answered(answer: Answered, _then: Instant) -> None:
            if not is_done(answer):
                refuse(future, answer)
            elif self.get(evaluation_id).state.is_final:
                resolve(future, self.get(evaluation_id))
            else:  # done at the device; the record that says how it ended is on its way
                self._waiters.setdefault(evaluation_id, []).append(future)

        self._requests.ask(Cancel(evaluation=bytes.fromhex(evaluation_id), reason=CancelReason.BY_STAFF), answered, now)
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
        return self._ask_window(SignIn(staff=staff), partial(setattr, self, "staff", staff), now)

    def sign_out(self, now: Instant) -> Future[None]:
        """Nobody serves at this window."""
        return self._ask_window(SignOut(), partial(setattr, self, "staff", None), now)

    def pause(self, reason: PauseReason, now: Instant) -> Future[None]:
        """The window stops serving for a while."""
        return self._ask_window(Pause(reason=reason), partial(setattr, self, "paused", reason), now)

    def resume(self, now: Instant) -> Future[None]:
        """The window serves again."""
        return self._ask_window(Resume(), partial(setattr, self, "paused", None), now)

    def say(self, prompt: Prompt, number: int, language: Language, now: Instant) -> Future[None]:
        """Speak to the citizen; `number` is which of the hall's own texts, 0 for a prompt that every device knows."""
        return self._requests.ask_for(Say(prompt=prompt, number=number, language=language), lambda: None, now)

    # --- the device ------------------------------------------------------------------------------------------

    def answered(self, answer: Answered, now: Instant) -> None:
        """Take the device's answer to a request."""
        self._requests.answered(answer, now)

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
        self._requests.lost(now)

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
                resolve(future, evaluation)
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
            if self._requests.is_idle:  # nobody has asked for anything else meanwhile
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

    def _begin(self, case: Case | None, timeout_ms: int, key: str | None, staff: str | None, now: Instant) -> Evaluation:
        """Store an evaluation that the device is about to be asked for."""
        evaluation = Evaluation(
            id=uuid.UUID(bytes=self._entropy(16), version=4).hex,
            case=case,
            timeout_ms=timeout_ms,
            created_ms=now.utc_ms,
            key=key,
            staff=staff,
        )
        self._store.add(evaluation)
        self._unfinished[evaluation.id] = evaluation
        return evaluation

    def _opener_signed_in(
        self, staff: str, evaluation: Evaluation, future: Future[Evaluation], answer: Answered, now: Instant
    ) -> None:
        if is_done(answer):
            self.staff = staff
            self._tell_window()
        else:
            self._requests.withdraw(self._opening[evaluation.id])
            self._open_answered(evaluation, future, answer, now)

    def _open_answered(self, evaluation: Evaluation, future: Future[Evaluation], answer: Answered, now: Instant) -> None:
        if self._opening.pop(evaluation.id, None) is None:
            return  # failed with its signing in already
        current = self._unfinished.get(evaluation.id)
        if current is None:  # its record came before the answer
            resolve(future, self.get(evaluation.id))
        elif is_done(answer):
            resolve(future, self._opened(current))
        else:
            refuse(future, answer)
            self._change(current.failed(word(answer), now.utc_ms))

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

    def _ask_window(self, message: Message, done: Callable[[], None], now: Instant) -> Future[None]:
        """Ask for a change of who serves or whether anybody does, and tell of it when the device has taken it."""

        def changed() -> None:
            done()
            self._tell_window()

        return self._requests.ask_for(message, changed, now)


def _digest(evaluation: Evaluation) -> bytes:
    """Return what binds the record to the case."""
    if evaluation.case is None:
        return NO_DIGEST
    return context_digest(bytes.fromhex(evaluation.id), evaluation.case.fields())
