"""The serial line between one device and one agent, with everything that happens to lines.

Bytes keep their order. With faults on, a piece may be cut in two, lose or double a part, or have bits flipped. Unplugged, whatever is
under way is gone and an open port fails. This is also the agent's view of the machine's ports: there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from host_agent.errors import PortError
from host_agent.link.port import OpenPort, Transport
from simulator.world.scheduler import Scheduler

NAME = "line"
LATENCY_S = 0.002
OPENING_S = 0.05


class _Nothing:
    """An opened transport; the line itself carries the bytes."""

    def read(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        """Take nothing: the port sends."""

    def wake(self) -> None:
        """Do nothing: nobody waits."""

    def close(self) -> None:
        """Do nothing."""


class _Port:
    def __init__(self, line: Line) -> None:
        self._line = line

    def send(self, data: bytes) -> None:
        self._line.host_sends(data)

    def close(self) -> None:
        self._line.host_closes(self)


class Line:
    """Carries bytes to `to_device`, and to whichever port the agent has open. Has the shape of the agent's `Ports`."""

    def __init__(self, scheduler: Scheduler, random: Random, to_device: Callable[[bytes], None]) -> None:
        self._scheduler = scheduler
        self._random = random
        self._to_device = to_device
        self._port: _Port | None = None
        self._bytes_in: Callable[[bytes], None] | None = None
        self._failed: Callable[[str], None] | None = None
        self._generation = 0
        self.fault_rate = 0.0
        self.plugged = True
        self.faults = 0

    def find(self, then: Callable[[list[str]], None]) -> None:
        """Say which ports there are."""
        self._scheduler.after(OPENING_S, lambda: then([NAME] if self.plugged else []))

    def open(self, name: str, dtr: bool, rts: bool, then: Callable[[Transport | PortError], None]) -> None:  # noqa: ARG002  # the shape is the agent's
        """Open the port if the cable is in."""
        self._scheduler.after(OPENING_S, lambda: then(_Nothing() if self.plugged else PortError(f"{name} is not there")))

    def attach(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> OpenPort:  # noqa: ARG002  # the same
        """Give the open port its ears."""
        self._port, self._bytes_in, self._failed = _Port(self), bytes_in, failed
        if not self.plugged:
            self.unplug()
        return self._port or _Port(self)

    def host_closes(self, port: _Port) -> None:
        """Let go of a port."""
        if port is self._port:
            self._port = self._bytes_in = self._failed = None

    def release(self) -> None:
        """Forget who had the port open: that process is gone."""
        self._port = self._bytes_in = self._failed = None

    def host_sends(self, data: bytes) -> None:
        """Carry bytes to the device."""
        self._carry(data, self._to_device)

    def device_sends(self, data: bytes) -> None:
        """Carry bytes to the port that is open when they arrive."""
        self._carry(data, lambda piece: self._bytes_in(piece) if self._bytes_in else None)

    def unplug(self) -> None:
        """Pull the cable."""
        self.plugged = False
        self._generation += 1
        failed = self._failed
        self._port = self._bytes_in = self._failed = None
        if failed is not None:
            failed("unplugged")

    def plug(self) -> None:
        """Put the cable in."""
        self.plugged = True

    def _carry(self, data: bytes, to: Callable[[bytes], None]) -> None:
        if not self.plugged:
            return
        generation = self._generation
        for piece in self._spoil(data):
            self._scheduler.after(LATENCY_S, lambda piece=piece: to(piece) if generation == self._generation else None)  # type: ignore[misc]  # mypy cannot infer a lambda with a bound default

    def _spoil(self, data: bytes) -> list[bytes]:
        if self._random.random() >= self.fault_rate:
            return [data]
        self.faults += 1
        at = self._random.randrange(len(data))
        kind = self._random.randrange(5)
        if kind == 0:
            return [data[:at], data[at:]]
        if kind == 1:
            return [data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]]
        if kind == 2:
            return [data[:at]]
        if kind == 3:
            return [data, data[at:]]
        return []
