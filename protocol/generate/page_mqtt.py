"""The MQTT part of the protocol page: topics and payloads, from topics.py and the pydantic models.

A field's sentence is the string under it in payloads.py, read from the source here so that programs at work do not carry it.
The examples are built by the models themselves, so each of them is valid.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from protocol.generate import signed_vectors
from protocol.generate.markdown import table
from protocol.payloads import (
    Absence,
    AbsenceKept,
    Case,
    Decoded,
    DeviceHealth,
    DeviceState,
    Health,
    LateCase,
    LateCaseKept,
    Payload,
    ReceiptPayload,
    Reckoned,
    RecordData,
    RecordEvent,
    RemoteAnswer,
    RemoteRequest,
    State,
)  # fmt: skip
from protocol.record import parse_record
from protocol.remote import Asked, Refusal
from protocol.topics import Down, Up, Window, all_up

_WINDOW = Window("533100", "zwdt", "07")
_SESSION = "7d0c1f6a52e94b3b8f3e9a6c11d2e047"
_NOON = 1_767_240_000_000
TOPICS: dict[Up | Down, type[Payload]] = {
    Up.RECORD: RecordEvent,
    Up.CASE: LateCase,
    Up.ABSENCE: Absence,
    Up.STATE: State,
    Up.HEALTH: Health,
    Up.ANSWER: RemoteAnswer,
    Down.RECEIPT: ReceiptPayload,
    Down.CASE: LateCaseKept,
    Down.ABSENCE: AbsenceKept,
    Down.REQUEST: RemoteRequest,
}
_PARTS: list[type[Payload]] = [
    RecordEvent, RecordData, Reckoned, Case, Decoded, LateCase, Absence, State, DeviceState, Health, DeviceHealth,
    ReceiptPayload, LateCaseKept, AbsenceKept, RemoteRequest, RemoteAnswer,
]  # fmt: skip


def topics() -> str:
    """Return the table of topics."""
    rows = []
    for what, model in TOPICS.items():
        topic = _WINDOW.up(what) if isinstance(what, Up) else _WINDOW.down(what)
        way = "agent → collector" if isinstance(what, Up) else "collector → agent"
        subscription = f"`{all_up(what)}`" if isinstance(what, Up) else "its own"
        meaning = sentences(type(what))[what.name]
        rows.append([f"`{topic}`", way, subscription, f"[{model.__name__}](#{model.__name__.lower()})", meaning])
    return table(["topic, for example", "direction", "subscription", "payload", "delivery and purpose"], rows)


def remote_kinds() -> str:
    """Return the table of what can be asked of an agent."""
    said = sentences(Asked)
    return table(["`kind`", "meaning"], [[f"`{one.value}`", said[one.name]] for one in Asked])


def remote_refusals() -> str:
    """Return the table of why a request is refused."""
    said = sentences(Refusal)
    return table(["`word`", "meaning"], [[f"`{one.value}`", said[one.name]] for one in Refusal])


def payloads() -> str:
    """Return every payload: sentence, fields, and an example where it is a message of its own."""
    shown = examples()
    parts = []
    for model in _PARTS:
        lines = [f"### {model.__name__}", "", textwrap.dedent(" " * 4 + (model.__doc__ or "")).strip(), "", _fields(model)]
        if model in shown:
            content = json.loads(shown[model].to_json())
            lines += ["", "```json", json.dumps(content, ensure_ascii=False, indent=2), "```"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _fields(model: type[Payload]) -> str:
    said = sentences(model)
    rows = [
        [f"`{name}`", _type(field.annotation, field.metadata), "yes" if field.is_required() else "no", said[name]]
        for name, field in model.model_fields.items()
    ]
    return table(["field", "type", "required", "meaning"], rows)


def sentences(documented: type) -> dict[str, str]:
    """Return the string under each field of a class, by the field's name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(documented))).body[0]
    found: dict[str, str] = {}
    name = ""
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name):
            name = target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = str(node.value.value)
    return found


def _type(annotation: Any, metadata: list[Any]) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        flat = [item for extra in more for item in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _type(inner, flat)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part, metadata) for part in get_args(annotation) if part is not type(None))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin is list:
        most = next(item.max_length for item in metadata if getattr(item, "max_length", None) is not None)
        return f"list of at most {most}: {_type(get_args(annotation)[0], [])}"
    if isinstance(annotation, type) and issubclass(annotation, Payload):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    name = {str: "string", int: "integer", bool: "true or false"}[annotation]
    return ", ".join([name, *_limits(metadata)])


def _limits(metadata: list[Any]) -> list[str]:
    limits: dict[str, Any] = {}
    for item in metadata:
        for key in ("pattern", "min_length", "max_length", "ge", "lt", "le"):
            if getattr(item, key, None) is not None:
                limits[key] = getattr(item, key)
    words = {"pattern": "`{}`", "ge": "at least {}", "le": "at most {}", "lt": "less than {}"}
    found = [words[key].format(value) for key, value in limits.items() if key in words]
    if "max_length" in limits:
        low, high = limits.get("min_length", 0), limits["max_length"]
        found.append(f"{high} characters" if low == high else f"{low} to {high} characters")
    return found


def examples() -> dict[type[Payload], Payload]:
    """Return a valid example of every payload that is a message of its own."""
    vector = signed_vectors.chain()[2]
    raw = bytes.fromhex(vector["record"])
    record = parse_record(raw)
    case = Case(case_no="2026-0001")
    receipt = signed_vectors.sections()["receipts"][0]["payload"]
    return {
        RecordEvent: RecordEvent.of(_WINDOW.path, signed_vectors.DEVICE, record, raw, record.utc_ms + 40, case, False),
        LateCase: LateCase(
            device=signed_vectors.DEVICE,
            seq=record.seq,
            record_mac=record.mac.hex(),
            case=case,
            staff="017",
            named_at_ms=_NOON + 90_000,
        ),
        LateCaseKept: LateCaseKept(device=signed_vectors.DEVICE, seq=record.seq, is_first=True),
        Absence: Absence(
            id="3c9a51e07b2d4f668e01d4c7a95f2b10",
            what="device",
            reason="unplugged",
            device=signed_vectors.DEVICE,
            staff="017",
            begin_ms=_NOON,
            end_ms=_NOON + 425_310,
            lasted_ms=425_304,
            measured=True,
            times=1,
        ),
        AbsenceKept: AbsenceKept(id="3c9a51e07b2d4f668e01d4c7a95f2b10", is_over=True, is_first=True),
        State: State(
            session=_SESSION,
            online=True,
            since_ms=_NOON,
            agent="1.0.0",
            device=DeviceState(device=signed_vectors.DEVICE, firmware="1.0.0", boot=1, release_on_ack=False),
        ),
        Health: Health(
            session=_SESSION,
            at_ms=_NOON + 60_000,
            journal_waiting=0,
            journal_free=10_540,
            outbox_to_send=0,
            outbox_sent=1,
            oldest_waiting_ms=350,
            device=DeviceHealth(
                uptime_ms=86_400_000, conditions=["key_stuck"], clock_ahead_ms=-3, clock_ppm=12, bad_frames=0, resent=1
            ),
        ),
        ReceiptPayload: ReceiptPayload(
            device=signed_vectors.DEVICE,
            next_seq=int.from_bytes(bytes.fromhex(receipt)[:4], "little"),
            record_mac=receipt[8:40],
            issued_ms=int.from_bytes(bytes.fromhex(receipt)[20:28], "little"),
            mac=receipt[56:88],
        ),
        RemoteRequest: signed_vectors.asked(),
        RemoteAnswer: signed_vectors.answered(),
    }
