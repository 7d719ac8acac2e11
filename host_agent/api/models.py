"""What goes over the local API as JSON. There is no field for a level in any answer, unless the hall has switched it on."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from host_agent.config import ApiConfig
from host_agent.evaluations import Evaluation, EvaluationState
from host_agent.notices import FreeRatingGiven, WindowChanged
from host_agent.store.late_cases import FreeRating
from protocol.messages import Language, PauseReason, Prompt
from protocol.payloads import Case

StaffNo = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9_-]+$")]
Millis = Annotated[int, Field(description="milliseconds since 1970 UTC")]


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


class CaseBody(Case):
    """The matter handled, as the business system names it. No name, phone or identity number of a citizen."""

    # Rust's expressions know no looking ahead, and without it the document could not say what is refused
    model_config = ConfigDict(regex_engine="python-re")

    applicant_ref: (
        Annotated[
            str,
            Field(
                pattern=r"^(?![0-9]{15}$|[0-9]{17}[0-9Xx]$|1[0-9]{10}$)[A-Za-z0-9._:-]{1,64}$",
                description="申办人引用号 the business system's own reference for the applicant; "
                "what has the form of an identity or phone number is refused",
            ),
        ]
        | None
    ) = None

    def case(self) -> Case:
        """Return the case as it travels."""
        return Case(**self.fields())


class OpenBody(_Body):
    """A request to open one evaluation; without a case it stands for a service that has no number."""

    case: CaseBody | None = None
    staff: StaffNo | None = None
    timeout_s: Annotated[int, Field(ge=5, le=3600)] = 60
    language: LanguageName = LanguageName.DEVICE_SETTING


class LevelName(Enum):
    """The five levels by name: as numbers, standards count them in both directions."""

    VERY_SATISFIED = "very_satisfied"
    SATISFIED = "satisfied"
    BASICALLY_SATISFIED = "basically_satisfied"
    DISSATISFIED = "dissatisfied"
    VERY_DISSATISFIED = "very_dissatisfied"


class StaffBody(_Body):
    """Who serves at the window."""

    staff: StaffNo


class PauseBody(_Body):
    """Why the window stops serving."""

    reason: PauseReasonName = PauseReasonName.OTHER


class PromptName(Enum):
    """What every device can say."""

    WELCOME = "welcome"
    CALL = "call"

    def code(self) -> Prompt:
        """Return the number on the wire."""
        return Prompt[self.name]


class PromptBody(_Body):
    """Welcome a citizen, or call the next one to the window."""

    prompt: PromptName
    language: LanguageName = LanguageName.DEVICE_SETTING


class TextBody(_Body):
    """Speak a text of the hall's own, by its number in the device's voice pack."""

    text: Annotated[int, Field(ge=1, le=255)]
    language: LanguageName = LanguageName.DEVICE_SETTING


class EvaluationAnswer(BaseModel):
    """An evaluation. `state` says how it ended: rated, expired, cancelled, device_lost or error; never how it was rated."""

    id: str
    state: EvaluationState
    final: Annotated[bool, Field(description="true when nothing more will happen to it")]
    reason: Annotated[str | None, Field(description="a word for why, with the state `error`")]
    case: Case | None
    staff: str | None
    created_ms: Millis
    ended_ms: Millis | None
    follow_up_url: Annotated[
        str | None,
        Field(
            description="补充评价页面 where the citizen may add reasons and words, rated or not; null when the hall has none"
        ),
    ]

    @classmethod
    def of(cls, evaluation: Evaluation, settings: ApiConfig, **more: object) -> Self:
        """Return the answer for an evaluation."""
        page = settings.follow_up_url
        return cls(
            id=evaluation.id,
            state=evaluation.state,
            final=evaluation.state.is_final,
            reason=evaluation.reason,
            case=evaluation.case,
            staff=evaluation.staff,
            created_ms=evaluation.created_ms,
            ended_ms=evaluation.ended_ms,
            follow_up_url=page.replace("{evaluation}", evaluation.id) if page is not None else None,
            **more,
        )


class EvaluationWithLevel(EvaluationAnswer):
    """An evaluation where the hall has switched on `api.show_level`."""

    level: Annotated[LevelName | None, Field(description="how it was rated, after changes of mind; null when it was not")]


class WindowAnswer(BaseModel):
    """Who serves here, whether the window serves, and which device is connected (null: none)."""

    staff: str | None
    paused: bool
    device: str | None

    @classmethod
    def of(cls, window: WindowChanged) -> Self:
        """Return the answer for a notice."""
        return cls(staff=window.staff, paused=window.paused, device=window.device)


class FreeRatingAnswer(BaseModel):
    """A rating that no evaluation asked for, or that was asked for without a case: one can be named for it."""

    device: str
    seq: int
    at_ms: Millis | None
    staff: str | None
    case: Annotated[Case | None, Field(description="the case that was named for it since")]

    @classmethod
    def of(cls, rating: FreeRating | FreeRatingGiven) -> Self:
        """Return the answer for a rating, or the notice of one."""
        case = rating.case if isinstance(rating, FreeRating) else None
        return cls(device=rating.device, seq=rating.seq, at_ms=rating.at_ms, staff=rating.staff, case=case)


class FrameAnswer(BaseModel):
    """A frame on the line between agent and device, in words, without a level."""

    text: str


class ErrorAnswer(BaseModel):
    """What went wrong: a stable word, and a sentence that ends in what to do."""

    error: str
    message: str
