"""How the device is, by its own word and by how its clock keeps beside the PC's (pure).

Which key is stuck is not told: a button that somebody holds down for long is also a level, and that is nobody's business at the
window. That one is stuck is enough to look at the device.
"""

from __future__ import annotations

from host_agent.instant import Instant
from protocol.messages import Status
from protocol.payloads import MOST_MILLIS, DeviceHealth


def condition_words(status: Status) -> list[str]:
    """Return what is not as usual on the device, as words."""
    return [condition.name.lower() for condition in status.conditions if condition.name]


def health_of(status: Status, asked_s: float | None, now: Instant, ppm: int | None) -> DeviceHealth:
    """Return the device's health from a status that came now; `ppm` is how much its clock runs faster than the PC's.

    The device read its clock somewhere between being asked and being heard.
    """
    ahead_ms: int | None = None
    if status.utc_ms:
        half_way_ms = 0 if asked_s is None else round((now.mono_s - asked_s) * 500)
        ahead_ms = max(-MOST_MILLIS, min(MOST_MILLIS, status.utc_ms - (now.utc_ms - half_way_ms)))
    return DeviceHealth(
        uptime_ms=min(status.uptime_ms, MOST_MILLIS),
        conditions=condition_words(status),
        clock_ahead_ms=ahead_ms,
        clock_ppm=ppm,
        bad_frames=status.bad_frames,
        resent=status.resent,
    )
