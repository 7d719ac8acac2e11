"""One evaluation as the window sees it, from opened to its end (pure).

The end comes from a signed record of the device and from nothing else: rated, expired and cancelled are what a record says.
`device_lost` says that the device went away with the evaluation open and has no record of an end; `error` that it
could not be opened. None of these is a level, and the level itself is not here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from protocol.payloads import Case
from protocol.record import Kind


class EvaluationState(Enum):
    """The word that a business system gets."""

    OPENING = "opening"
    OPENED = "opened"
    RATED = "rated"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    DEVICE_LOST = "device_lost"
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        """True when nothing but a late record of the device can still change it."""
        return self not in (EvaluationState.OPENING, EvaluationState.OPENED)


_BY_RECORD = {
    Kind.RATING: EvaluationState.RATED,
    Kind.EXPIRED: EvaluationState.EXPIRED,
    Kind.CANCELLED: EvaluationState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation; `id` is a UUID as 32 hex digits, `case` None where the business system named none."""

    id: str
    case: Case | None
    timeout_ms: int
    created_ms: int
    key: str | None = None
    staff: str | None = None
    state: EvaluationState = EvaluationState.OPENING
    reason: str | None = None
    ended_ms: int | None = None

    def after_record(self, kind: Kind, now_ms: int) -> Evaluation:
        """Return the evaluation after a record about it; a rating is never taken back."""
        state = _BY_RECORD.get(kind)
        if state is None or self.state in (EvaluationState.RATED, state):
            return self
        return replace(self, state=state, reason=None, ended_ms=now_ms)

    def opened(self) -> Evaluation:
        """Return the evaluation after the device has invited the citizen."""
        return replace(self, state=EvaluationState.OPENED) if self.state is EvaluationState.OPENING else self

    def failed(self, reason: str, now_ms: int) -> Evaluation:
        """Return the evaluation after the device would not open it."""
        if self.state is not EvaluationState.OPENING:
            return self
        return replace(self, state=EvaluationState.ERROR, reason=reason, ended_ms=now_ms)

    def device_lost(self, now_ms: int) -> Evaluation:
        """Return the evaluation after its device is known to have no record of its end."""
        if self.state.is_final:
            return self
        return replace(self, state=EvaluationState.DEVICE_LOST, ended_ms=now_ms)
