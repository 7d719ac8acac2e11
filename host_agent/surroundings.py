"""What the agent does not do by itself: read clocks, open ports, speak MQTT.

The real ones are the default. The simulated world hands in its own, and with them the whole agent runs in one thread and in
virtual time: nothing else in it starts a thread or looks at a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from host_agent.instant import Instant, read_clocks
from host_agent.link.port import Ports, SystemPorts
from host_agent.uplink.mqtt import Connect, MqttLink


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Clocks, ports and broker connections."""

    clocks: Callable[[], Instant] = read_clocks
    ports: Ports = field(default_factory=SystemPorts)
    connect: Connect = MqttLink
    posted: Callable[[], None] = lambda: None
    """Called after something was posted to the agent, for those who call `turn` themselves."""
