"""What a person or a program may know of the agent: counts, names and troubles, never a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The agent at one moment."""

    agent: str
    window: str
    link: str
    port: str | None
    link_trouble: str | None
    device: str | None
    device_trouble: str | None
    """What is wrong with the device being here, in words for a person."""
    firmware: str | None
    boot: int | None
    release_on_ack: bool
    staff: str | None
    paused: bool
    evaluation: str | None
    """Id of the evaluation that the citizen is being asked to rate."""
    conditions: list[str]
    device_heard_ms: int | None
    """How long ago the device's last status came, its heartbeat."""
    device_uptime_ms: int | None
    clock_ahead_ms: int | None
    """The device's clock against the PC's, negative when it is behind."""
    clock_ppm: int | None
    """How much faster it runs, parts per million; None until it has been watched for a while."""
    journal_waiting: int | None
    """Records in the device without a receipt."""
    journal_free: int | None
    broker_connected: bool
    broker_trouble: str | None
    store_trouble: str | None
    databases_set_aside: list[str]
    """Damaged databases in the data directory that nobody has looked at and removed yet, oldest first."""
    database_bytes: int
    """How much of the database file is in use."""
    database_most_bytes: int
    """From which size on the oldest collected records are deleted; more than that is what has not been collected."""
    outbox_to_send: int
    outbox_sent: int
    oldest_waiting_ms: int | None
    """How long the oldest record here has waited for its receipt."""
    counters: dict[str, int]


TOLD: Final = frozenset(
    (
        "agent", "window", "link", "port", "link_trouble", "device", "device_trouble", "firmware", "boot", "release_on_ack",
        "paused", "conditions", "device_heard_ms", "device_uptime_ms", "clock_ahead_ms", "clock_ppm",
        "journal_waiting", "journal_free", "broker_connected", "broker_trouble", "store_trouble", "databases_set_aside",
        "database_bytes", "database_most_bytes", "outbox_to_send", "outbox_sent", "oldest_waiting_ms", "counters",
    )
)  # fmt: skip  # one line for each would be thirty
"""What of it may leave this PC, in a support bundle or as an answer from afar; a field that comes to it later does not by itself."""
