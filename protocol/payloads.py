"""What stands in an MQTT message: JSON models, one for each topic.

Records travel as CloudEvents 1.0. The 128 signed bytes are the truth; the decoded fields beside them are for subscribers other
than our collector, which takes nothing from them. Unknown keys are refused: a misspelt key must not vanish.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocol.errors import PayloadError
from protocol.levels import Level
from protocol.record import Kind, Record, RecordFlag, TimeQuality

Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")]
Short = Annotated[str, Field(min_length=1, max_length=64)]
Version = Annotated[str, Field(max_length=64)]
Seq = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
MOST_MILLIS: Final = (1 << 63) - 1
Millis = Annotated[int, Field(ge=0, le=MOST_MILLIS)]

P = TypeVar("P", bound="Payload")


class Payload(BaseModel):
    """Base of all payloads: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def to_json(self) -> bytes:
        """Return the payload as compact UTF-8 JSON without absent fields."""
        return self.model_dump_json(exclude_none=True).encode("utf-8")

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse and check; PayloadError("json") for what is no JSON, PayloadError("value") with the path of the field."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "payload"
            reason = "json" if first["type"].startswith("json") else "value"
            raise PayloadError(reason, f"{cls.__name__}.{where}: {first['msg']}") from error


class Case(Payload):
    """The matter being rated, as the business system names it. No name, phone or identity number of a citizen."""

    case_no: Short
    """办件编号, the number of the matter."""
    item_code: Short | None = None
    """事项编码, its kind."""
    item_name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """事项名称, its kind in words."""
    service_no: Short | None = None
    """Number of this service within the matter, when the business system counts them."""
    applicant_ref: Short | None = None
    """申办人引用号, the business system's own reference for who applied; nothing that tells who that is to anybody else."""
    dept_code: Short | None = None
    """Code of the department that serves."""
    dept_name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Its name."""

    def fields(self) -> dict[str, str]:
        """Return the fields that are set, as they enter the context digest."""
        return self.model_dump(exclude_none=True)


class Decoded(Payload):
    """A record's fields by name, for subscribers that do not parse the 128 bytes."""

    kind: str
    """Name of the record's kind in lower case."""
    level: str | None = None
    """Level of a rating or an extra press, absent otherwise."""
    pressed_at_ms: Millis
    """The device's best known time, milliseconds since 1970 UTC; 0 when it knew none."""
    time_quality: str
    """Name of the time quality in lower case."""
    uncertainty_ms: Seq
    """How far off that time may be; 4294967295 means unknown."""
    free_standing: bool
    """No evaluation was open."""
    revises_seq: Seq | None = None
    """The rating that this one replaces, absent otherwise."""
    evaluation: Hex16 | None = None
    """Id of the evaluation, absent when there was none."""
    staff: str | None = None
    """Who was signed in, absent when nobody was."""

    @classmethod
    def of(cls, record: Record) -> Decoded:
        """Return the decoded fields of a parsed record."""
        pressed = record.kind in (Kind.RATING, Kind.EXTRA)
        return cls(
            kind=record.kind.name.lower(),
            level=Level(record.level).word if pressed else None,
            pressed_at_ms=min(record.utc_ms, MOST_MILLIS),  # a record may hold any 64 bits; it must be publishable all the same
            time_quality=TimeQuality(record.quality).name.lower(),
            uncertainty_ms=record.uncertainty_ms,
            free_standing=bool(record.flags & RecordFlag.FREE_STANDING),
            revises_seq=record.refers_to if record.flags & RecordFlag.REVISION else None,
            evaluation=record.evaluation.hex() if any(record.evaluation) else None,
            staff=record.staff or None,
        )


class Reckoned(Payload):
    """When the record was written, as the agent reckons it from the device's ticks and the PC's clock. Unsigned; decides nothing.

    Reckoned once, when the record came, and never rewritten. `unknown`: the device has started anew since it wrote the record.
    """

    at_ms: Millis | None = None
    """Milliseconds since 1970 UTC by the PC's clock; absent when unknown."""
    uncertainty_ms: Seq | None = None
    """How far off that may be against the PC's clock; absent when unknown."""
    quality: Literal["fitted", "estimated", "unknown"]
    """`fitted`: the device's clock was watched for a while; `estimated`: only just met, so its rate is not known well."""
    clock_jumped: bool
    """True when the PC's clock was set, or the PC slept, between the writing and the reckoning."""


class RecordData(Payload):
    """The data of a record event."""

    device: DeviceId
    """Device id, as on its label."""
    seq: Seq
    """Number of the record."""
    record: Annotated[str, Field(min_length=172, max_length=172)]
    """The 128 signed bytes in base64."""
    received_at_ms: Millis
    """The agent's clock when the record came from the device."""
    reckoned: Reckoned | None = None
    """When it was written by the agent's reckoning; absent from an agent that does not reckon."""
    historical: bool
    """True for a record replayed from a journal or an outbox, false for one that was just written."""
    case: Case | None = None
    """The case context as it was given when the evaluation was opened; its digest is in the record."""
    decoded: Decoded
    """The record's fields by name."""

    def raw(self) -> bytes:
        """Return the 128 bytes of the record; PayloadError("value") when it is not base64."""
        try:
            return base64.b64decode(self.record, validate=True)
        except ValueError as error:
            raise PayloadError("value", f"RecordData.record: {error}") from error


class RecordEvent(Payload):
    """A journal record on its way up; `id` is the dedupe key, device and number."""

    specversion: Literal["1.0"]
    """CloudEvents version."""
    id: str
    """`device/seq`, the dedupe key."""
    source: str
    """`area/hall/window`."""
    type: Literal["hcp.record.v1"]
    """CloudEvents type."""
    time: str
    """`received_at_ms` as RFC 3339 in UTC."""
    datacontenttype: Literal["application/json"]
    """CloudEvents content type."""
    data: RecordData
    """The record."""

    @classmethod
    def of(
        cls,
        source: str,
        device: str,
        record: Record,
        raw: bytes,
        received_at_ms: int,
        case: Case | None,
        historical: bool,
        reckoned: Reckoned | None = None,
    ) -> RecordEvent:
        """Wrap a record; `source` is the window's path, `received_at_ms` the agent's clock when it came from the device."""
        return cls(
            specversion="1.0",
            id=f"{device}/{record.seq}",
            source=source,
            type="hcp.record.v1",
            time=datetime.fromtimestamp(received_at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            datacontenttype="application/json",
            data=RecordData(
                device=device,
                seq=record.seq,
                record=base64.b64encode(raw).decode("ascii"),
                received_at_ms=received_at_ms,
                reckoned=reckoned,
                historical=historical,
                case=case,
                decoded=Decoded.of(record),
            ),
        )


class DeviceState(Payload):
    """The device at a window, as its agent sees it."""

    device: DeviceId
    """Device id, as on its label."""
    firmware: Version
    """Its firmware version."""
    boot: Seq
    """Number of its boot."""
    release_on_ack: bool
    """True when it frees flash on the agent's ack, without a receipt: the weaker setting."""


class State(Payload):
    """Whether an agent is there; retained, and as the will with `online` false.

    `session` is drawn anew for every connection: a will that arrives after a newer state names an older session and is
    ignored.
    """

    session: Hex16
    """Drawn anew for every connection to the broker."""
    online: bool
    """False in the will and when the agent stops."""
    since_ms: Millis
    """When this session began, milliseconds since 1970 UTC."""
    agent: Version
    """Version of the agent."""
    device: DeviceState | None = None
    """The device, absent while none answers."""


class DeviceHealth(Payload):
    """How the device at a window is, by its last status. Which key is stuck is not told: it would be a level."""

    uptime_ms: Millis
    """Since its start."""
    conditions: Annotated[list[Annotated[str, Field(pattern=r"^[a-z_]{1,24}$")]], Field(max_length=16)]
    """What is not as usual: names of Condition in lower case."""
    clock_ahead_ms: Annotated[int, Field(ge=-MOST_MILLIS, le=MOST_MILLIS)] | None = None
    """Its clock against the PC's, negative when it is behind; absent while it has none."""
    clock_ppm: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | None = None
    """How much faster its clock runs than the PC's, parts per million; absent until it has been watched for a while."""
    bad_frames: Seq
    """Damaged frames that it has dropped since its start."""
    resent: Seq
    """Records that it has sent more than once since then."""


class Health(Payload):
    """What waits where at a window, counts of records; and how its device is."""

    session: Hex16
    """As in the state."""
    at_ms: Millis
    """When these numbers were taken, milliseconds since 1970 UTC."""
    journal_waiting: Seq | None = None
    """Records in the device that the agent does not have; None while no device answers."""
    journal_free: Seq | None = None
    """Records that the device can still write before it must refuse."""
    outbox_to_send: Seq
    """Records at the agent that are not yet published."""
    outbox_sent: Seq
    """Published and waiting for a receipt."""
    oldest_waiting_ms: Millis | None = None
    """How long the oldest record without a receipt has waited."""
    device: DeviceHealth | None = None
    """The device, absent while none answers and from an agent that does not tell."""


class LateCase(Payload):
    """The case of a rating that was given without one, as the business system names it afterwards.

    The device has not signed it: it is the window's word. So it goes only to ratings whose record is bound to no case, and the
    first one counts.
    """

    device: DeviceId
    """Device id."""
    seq: Seq
    """Number of the rating's record."""
    record_mac: Hex16
    """Its MAC."""
    case: Case
    """The case."""
    staff: Annotated[str, Field(max_length=16)] | None = None
    """Who was signed in when it was named."""
    named_at_ms: Millis
    """When it was named by the agent's clock, milliseconds since 1970 UTC."""


class LateCaseKept(Payload):
    """The collector's word that a late case is stored; the agent repeats it until this comes."""

    device: DeviceId
    """Device id."""
    seq: Seq
    """Number of the rating's record."""
    is_first: bool
    """False when another case was named for it before: that one counts, and this one is kept as evidence."""


class Absence(Payload):
    """A time in which a window had no working device, or in which its agent did not run.

    The window's word, not signed. An absence of the device is said when it begins and again when it is over, one of the agent when
    it is over. What has come back for less than ten seconds has not come back: such an absence goes on, and `times` counts.
    """

    id: Hex16
    """Drawn when it began; what is said of it again bears the same."""
    what: Literal["device", "agent"]
    """Who was absent."""
    reason: Literal["missing", "unplugged", "silent", "refused", "stopped", "killed", "slept"]
    """How it began. Of a device: `missing`, not found since the agent's start; `unplugged`, its port went away or failed; `silent`,
    it does not answer; `refused`, no common protocol version. Of an agent: `stopped` in order; `killed`, ended without having been
    stopped (crash, kill, power cut); `slept`, the PC slept or the program stood still."""
    device: DeviceId | None = None
    """The device that was there last, absent when none was."""
    staff: Annotated[str, Field(max_length=16)] | None = None
    """Who was signed in when it began, as far as the agent knew."""
    begin_ms: Millis
    """When it began by the PC's clock, milliseconds since 1970 UTC. Of an agent that was killed: its last sign of life, up to a
    minute before its end."""
    end_ms: Millis | None = None
    """When it was over by the PC's clock, never before `begin_ms`; absent while it lasts."""
    lasted_ms: Millis | None = None
    """How long it lasted; absent while it does, and where nobody can tell because the PC's clock was set back while no agent ran."""
    measured: bool
    """True when `lasted_ms` was measured by a clock that nobody can set; false when it is the difference of both times."""
    times: Annotated[int, Field(ge=1, le=0xFFFFFFFF)]
    """How many absences in a row were taken for this one, at least: what a crash interrupts is not counted."""


class AbsenceKept(Payload):
    """The collector's word that an absence is stored; the agent repeats it until this comes."""

    id: Hex16
    """Id of the absence."""
    is_over: bool
    """True when its end is stored as well."""
    is_first: bool
    """False when something else was said of it before: that counts, and this is kept as evidence."""


class ReceiptPayload(Payload):
    """The collector's signed word for one device; the agent hands it on unread to the device."""

    device: DeviceId
    """Device id."""
    next_seq: Seq
    """First record that the receipt does not cover."""
    record_mac: Hex16
    """MAC of the last record covered."""
    issued_ms: Millis
    """When the collector signed it, milliseconds since 1970 UTC."""
    mac: Hex16
    """Signature under the device key."""


Word = Annotated[str, Field(pattern=r"^[a-z_]{1,24}$")]


class RemoteRequest(Payload):
    """A request to one window's agent, signed with that window's remote key.

    `session` is the one that the agent's last State names: a request that was kept and comes at another connection is none.
    """

    version: Literal[1]
    """Version of requests and answers."""
    session: Hex16
    """As in the agent's state."""
    id: Hex16
    """Drawn by the asker: 8 bytes that grow (its clock in microseconds), 8 at random. Each is answered once."""
    kind: Word
    """What is asked."""
    arguments: Annotated[str, Field(max_length=512)]
    """A JSON object, as text: it is signed as it stands."""
    mac: Hex16
    """Signature under the remote key."""


class RemoteAnswer(Payload):
    """The agent's answer to a RemoteRequest, signed with the same key."""

    version: Literal[1]
    """Version of requests and answers."""
    session: Hex16
    """As in the request."""
    request: Hex16
    """The request's id."""
    word: Word
    """`ok`, or why it was refused."""
    body: Annotated[str, Field(max_length=49_152)]
    """A JSON object, as text: it is signed as it stands."""
    mac: Hex16
    """Signature under the remote key."""
