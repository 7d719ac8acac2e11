"""MQTT topics: fixed depth, one place per window, one direction per branch.

    hcp/v1/{area}/{hall}/{window}/up/{record|case|absence|state|health|answer}   agent → collector
    hcp/v1/{area}/{hall}/{window}/down/{receipt|case|absence|request}            collector → agent

So an access list gives an agent `up/+` to write and `down/+` to read below its own window, and nothing else. No topic holds
a person, a case or a level.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocol.errors import PayloadError

ROOT: Final = "hcp/v1"
_AREA = re.compile(r"[0-9]{6}")
_PLACE = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Up(Enum):
    """What an agent publishes."""

    RECORD = "record"
    """QoS 1, not retained: one journal record."""
    CASE = "case"
    """QoS 1, not retained: a case named after its rating; repeated until answered."""
    ABSENCE = "absence"
    """QoS 1, not retained: a time without a device, or without the agent; repeated until answered."""
    STATE = "state"
    """QoS 1, retained, and the agent's will: there or gone, which device."""
    HEALTH = "health"
    """QoS 0, not retained: numbers, every few seconds."""
    ANSWER = "answer"
    """QoS 1, not retained: the signed answer to a remote request."""


class Down(Enum):
    """What a collector publishes."""

    RECEIPT = "receipt"
    """QoS 1, not retained: the signed receipt for one device."""
    CASE = "case"
    """QoS 1, not retained: a case that was named afterwards is stored."""
    ABSENCE = "absence"
    """QoS 1, not retained: an absence is stored."""
    REQUEST = "request"
    """QoS 1, not retained: a signed request to this window's agent."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """One window: 6-digit division code, hall and window number; PayloadError("topic") when one does not fit a topic."""

    area: str
    hall: str
    window: str

    def __post_init__(self) -> None:
        if not _AREA.fullmatch(self.area):
            raise PayloadError("topic", f"area must be the 6 digits of a division code, not {self.area!r}")
        for name, value in (("hall", self.hall), ("window", self.window)):
            if not _PLACE.fullmatch(value):
                raise PayloadError("topic", f"{name} must be 1 to 32 of A-Z a-z 0-9 _ -, not {value!r}")

    @property
    def path(self) -> str:
        """`area/hall/window`, as in the topic."""
        return f"{self.area}/{self.hall}/{self.window}"

    def up(self, what: Up) -> str:
        """Return the topic on which this window's agent publishes."""
        return f"{ROOT}/{self.path}/up/{what.value}"

    def down(self, what: Down) -> str:
        """Return the topic on which this window's agent listens."""
        return f"{ROOT}/{self.path}/down/{what.value}"

    @property
    def all_down(self) -> str:
        """The subscription of this window's agent."""
        return f"{ROOT}/{self.path}/down/+"


def all_up(what: Up) -> str:
    """Return the subscription that receives this from every window."""
    return f"{ROOT}/+/+/+/up/{what.value}"


def parse_up(topic: str) -> tuple[Window, Up]:
    """Take an upward topic apart; PayloadError("topic")."""
    parts = topic.split("/")
    if len(parts) != 7 or "/".join(parts[:2]) != ROOT or parts[5] != "up":
        raise PayloadError("topic", f"not a topic of ours: {topic!r}")
    try:
        return Window(parts[2], parts[3], parts[4]), Up(parts[6])
    except ValueError as error:
        raise PayloadError("topic", f"not a topic of ours: {topic!r}") from error
