"""Every frame in words, for a technician who watches; nothing is written down while nobody does.

A record is told without its level, as everything on this PC. Called by the conversation, in the agent's one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from typing import Any

from host_agent.errors import RequestError
from protocol.errors import RecordError
from protocol.messages import Message, RecordMessage
from protocol.record import parse_record

MOST_WATCHERS = 4
_SHOWN_BYTES = 4


class Trace:
    """Tells watchers what goes over the line; `is_on` while there are any."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[str], None]] = []

    @property
    def is_on(self) -> bool:
        """True while anybody watches."""
        return bool(self._watchers)

    def watch(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with every frame from now on; it must not block. RequestError 503 when too many do."""
        if len(self._watchers) >= MOST_WATCHERS:
            raise RequestError(503, "too_many_listeners", "监听过多，请关闭多余的 agent tail  too many watch already: end some")
        self._watchers.append(tell)

    def leave(self, tell: Callable[[str], None]) -> None:
        """Stop telling this one."""
        if tell in self._watchers:
            self._watchers.remove(tell)

    def sent(self, message: Message, correlation: int) -> None:
        """Tell of a frame to the device."""
        self._tell(f"→ {_numbered(correlation)}{words(message)}")

    def heard(self, message: Message, correlation: int) -> None:
        """Tell of a frame from the device."""
        self._tell(f"← {_numbered(correlation)}{words(message)}")

    def damaged(self, reason: str) -> None:
        """Tell of bytes that were no frame, or a frame that was no message."""
        self._tell(f"← 损坏 damaged: {reason}")

    def _tell(self, line: str) -> None:
        for tell in list(self._watchers):
            tell(line)


def words(message: Message) -> str:
    """Return a message by name and fields, without a level and with long bytes cut short."""
    if isinstance(message, RecordMessage):
        return _record(message.record)
    shown = " ".join(f"{field.name}={_value(getattr(message, field.name))}" for field in fields(message))  # type: ignore[arg-type]  # every layout is a dataclass
    return f"{type(message).__name__} {shown}".rstrip()


def _record(raw: bytes) -> str:
    try:
        record = parse_record(raw)
    except RecordError as error:
        return f"Record 无法读取 unreadable: {error.reason}"
    parts = [f"seq={record.seq}", f"kind={record.kind.name.lower()}", f"boot={record.boot}", f"uptime_ms={record.uptime_ms}"]
    if record.staff:
        parts.append(f"staff={record.staff}")
    if any(record.evaluation):
        parts.append(f"evaluation={_value(record.evaluation)}")
    if record.level:
        parts.append("等级不显示 level not shown")
    return f"Record {' '.join(parts)}"


def _numbered(correlation: int) -> str:
    return f"#{correlation} " if correlation else ""


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{value[:_SHOWN_BYTES].hex()}…" if len(value) > _SHOWN_BYTES else value.hex()
    if isinstance(value, Enum):
        return (value.name or str(value.value)).lower()
    if isinstance(value, str):
        return "".join(one if one.isprintable() else "?" for one in value) or '""'
    return str(value)
