"""What a conversation with a device can say to the agent (pure data)."""

from __future__ import annotations

from dataclasses import dataclass

from protocol import OLDEST_PROTOCOL_VERSION
from protocol.messages import Error, ErrorCode, HelloAnswer, Log, Status
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Identified:
    """The device said who it is; answer with `start`."""

    answer: HelloAnswer
    asked_s: float = 0.0
    """The monotonic time at which it was asked."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No common version; `device_is_older` says which side has to be updated."""

    oldest: int
    newest: int

    @property
    def device_is_older(self) -> bool:
        """True when the firmware is what needs an update, False when this agent does."""
        return self.newest < OLDEST_PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Received:
    """A record in its turn, to be made durable and then acknowledged."""

    record: Record
    raw: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """Records that will not come: the device goes on after them.

    It cannot read them any more, or (`was_released`) has recycled them after a receipt, so that the collector has them.
    """

    first_seq: int
    count: int
    was_released: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A request was carried out (`error` None), refused, or given up after several tries (`gave_up`)."""

    correlation: int
    error: ErrorCode | None
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class Reported:
    """The device's status."""

    status: Status
    asked_s: float | None = None
    """The monotonic time at which it was asked for; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Alarmed:
    """Something went wrong on the device without being asked for."""

    error: Error


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence from the device for the log."""

    log: Log


@dataclass(frozen=True, slots=True)
class Silent:
    """The device has not been heard or does not know us any more; hello is being said again.

    Requests that it has not answered are dropped without an Answered of their own: a request repeated in the next
    conversation would open an evaluation that nobody waits for any more.
    """


Event = Identified | Refused | Received | Skipped | Answered | Reported | Alarmed | Said | Silent
