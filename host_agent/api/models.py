"""What goes over the local API as JSON. There is no field for a level, in any answer."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from host_agent.evaluations import Evaluation, EvaluationState
from protocol.messages import Language, PauseReason
from protocol.payloads import Case

StaffNo = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9_-]+$")]


class LanguageName(Enum):
    """Which voice speaks to this citizen."""

    DEVICE_SETTING = "device_setting"
    MANDARIN = "mandarin"
    DAI = "dai"
    JINGPO = "jingpo"

    def code(self) -> Language:
        """Return the number on the wire."""
        return Language[self.name]


class PauseReasonName(Enum):
    """Why the window stops serving."""

    OTHER = "other"
    BREAK = "break"
    MEETING = "meeting"
    SYSTEM_FAULT = "system_fault"

    def code(self) -> PauseReason:
        """Return the number on the wire."""
        return PauseReason[self.name]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OpenBody(_Body):
    """A request to open one evaluation."""

    case: Case
    staff: StaffNo | None = None
    timeout_s: Annotated[int, Field(ge=5, le=3600)] = 60
    language: LanguageName = LanguageName.DEVICE_SETTING


class StaffBody(_Body):
    """Who serves at the window."""

    staff: StaffNo


class PauseBody(_Body):
    """Why the window stops serving."""

    reason: PauseReasonName = PauseReasonName.OTHER


class EvaluationAnswer(BaseModel):
    """An evaluation. `state` says how it ended: rated, expired, cancelled, device_lost or error; never how it was rated."""

    id: str
    state: EvaluationState
    final: bool
    reason: str | None
    case: Case
    staff: str | None
    created_ms: int
    ended_ms: int | None

    @classmethod
    def of(cls, evaluation: Evaluation) -> EvaluationAnswer:
        """Return the answer for an evaluation."""
        return cls(
            id=evaluation.id,
            state=evaluation.state,
            final=evaluation.state.is_final,
            reason=evaluation.reason,
            case=evaluation.case,
            staff=evaluation.staff,
            created_ms=evaluation.created_ms,
            ended_ms=evaluation.ended_ms,
        )


class ErrorAnswer(BaseModel):
    """What went wrong: a stable word, and a sentence that ends in what to do."""

    error: str
    message: str
