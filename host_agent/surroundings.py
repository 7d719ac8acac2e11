"""What the agent does not do by itself: read clocks, draw numbers, open ports, speak MQTT, ask a disk for its room.

The real ones are the default. The simulated world hands in its own, and with them the whole agent runs in one thread and in
virtual time, the same way each time: nothing else in it starts a thread, looks at a clock or rolls dice.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from host_agent.instant import Instant, asleep_s, read_clocks
from host_agent.link.port import Ports, SystemPorts
from host_agent.service.log_ring import last_lines
from host_agent.uplink.mqtt import Connect, MqttLink


def free_bytes(folder: Path) -> int:
    """Return how much room the disk below a folder has; no bound for a disk that cannot be asked, which is another trouble."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return sys.maxsize


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Clocks, randomness, ports, broker connections and disk."""

    clocks: Callable[[], Instant] = read_clocks
    asleep_s: Callable[[], float] = asleep_s
    """For how long the PC has slept, as far as its monotonic clock does not tell."""
    entropy: Callable[[int], bytes] = os.urandom
    """Draws so many random bytes, for the ids of evaluations and conversations."""
    ports: Ports = field(default_factory=SystemPorts)
    connect: Connect = MqttLink
    posted: Callable[[], None] = lambda: None
    """Called after something was posted to the agent, for those who call `turn` themselves."""
    free_bytes: Callable[[Path], int] = free_bytes
    log_lines: Callable[[int], Sequence[str]] = last_lines
    """Returns up to so many of the last lines of the log."""
