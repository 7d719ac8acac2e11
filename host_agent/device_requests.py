"""What is asked of the device, and what becomes of its answers: each request has one, or the device is lost.

Runs in the agent's one thread. An answer goes to whoever asked; a refusal becomes a RequestError with a sentence for a person.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from sqlite3 import Error
from typing import Any, TypeVar

from host_agent.errors import RequestError
from host_agent.instant import Instant
from host_agent.link.attachment import Attachment
from host_agent.link.events import Answered
from protocol.messages import ErrorCode, Message

T = TypeVar("T")
Handler = Callable[[Answered, Instant], None]

_REFUSALS = {
    ErrorCode.JOURNAL_FULL: "评价器存储已满，等待归集 the device's journal is full; it waits for the collection",
    ErrorCode.JOURNAL_FAULT: "评价器存储故障，请联系运维 the device's flash fails; call the technician",
    ErrorCode.VALUE: "评价器不接受此内容，例如没有这段语音 the device does not take this: has it such a text, in its voice pack?",
    ErrorCode.UNKNOWN_TYPE: "评价器固件过旧，请更新固件 the device's firmware is too old for this; update it",
    ErrorCode.EVALUATION: "评价器上没有这次评价 the device does not know this evaluation",
}


class DeviceRequests:
    """Asks over one attachment."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._asked: dict[int, Handler] = {}

    @property
    def is_idle(self) -> bool:
        """True while nothing waits for an answer."""
        return not self._asked

    def must_be_possible(self) -> None:
        """Raise RequestError 503 while no device can be asked."""
        if not self._attachment.is_talking:
            why = self._attachment.trouble or "正在连接 connecting"
            raise RequestError(503, "no_device", f"评价器未连接 no device at this window: {why}")

    def ask(self, message: Message, answered: Handler, now: Instant) -> int:
        """Ask; `answered` is called once. Return the request's number."""
        number = self._attachment.request(message, now)
        self._asked[number] = answered
        return number

    def ask_for(self, message: Message, done: Callable[[], None], now: Instant) -> Future[None]:
        """Ask for something that has no result; `done` is called when the device has done it, before the future is."""
        self.must_be_possible()
        future: Future[None] = Future()

        def answered(answer: Answered, _then: Instant) -> None:
            if is_done(answer):
                done()
                resolve(future, None)
            else:
                refuse(future, answer)

        self.ask(message, answered, now)
        return future

    def withdraw(self, number: int) -> None:
        """Forget a request that has not been sent yet; its handler is not called."""
        self._attachment.withdraw(number)
        self._asked.pop(number, None)

    def answered(self, answer: Answered, now: Instant) -> None:
        """Take the device's answer."""
        handler = self._asked.pop(answer.correlation, None)
        if handler is not None:
            handler(answer, now)

    def lost(self, now: Instant) -> None:
        """Fail what the device will not answer any more."""
        asked, self._asked = self._asked, {}
        trouble: Error | None = None
        for number, handler in asked.items():
            try:
                handler(Answered(number, None, gave_up=True), now)
            except Error as error:  # each caller gets an answer, whatever the database says to the one before
                trouble = error
        if trouble is not None:
            raise trouble


def is_done(answer: Answered) -> bool:
    """Tell whether the device has done what it was asked for."""
    return answer.error is None and not answer.gave_up


def word(answer: Answered) -> str:
    """Return why it has not, as a stable word."""
    return "no_answer" if answer.error is None else answer.error.name.lower()


def refuse(future: Future[Any], answer: Answered) -> None:
    """Give the caller a RequestError: 504 without an answer, 409 when the device refuses."""
    if answer.error is None:
        error = RequestError(504, word(answer), "评价器没有应答，请检查连线 the device does not answer; check the cable")
    else:
        text = _REFUSALS.get(answer.error, f"评价器拒绝了请求 the device refuses: {word(answer)}")
        error = RequestError(409, word(answer), text)
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def resolve(future: Future[T], value: T) -> None:
    """Give the caller the result, if it still waits."""
    if future.set_running_or_notify_cancel():
        future.set_result(value)
