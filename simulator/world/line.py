"""The serial line between the device and the PC of one window, and the PC's ports, with everything that happens to them.

Bytes keep their order. What can go wrong is named after what goes wrong in the field: noise, a cable pulled, a handle that stays
open and dead, a port that somebody else holds, writes cut short, bytes overwritten while the PC slept, a modem manager's probing.
There are two ports to be found: the device's, whose name may change with each plugging in, and one at which nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from host_agent.errors import PortError
from host_agent.link.port import OpenPort, Transport
from simulator.world.scheduler import Scheduler
from simulator.world.trace import FrameWatch, Trace

NAMES = ("COM3", "COM5", "COM7")
NOBODY = "COM1"
LATENCY_S = 0.002
OPENING_S = 0.05
FIFO_BYTES = 256
"""What a USB stack holds for a host that does not read."""
PROBES = (b"AT\r\n", b"AT+CGMI\r", b"\x7e\x00\x78\xf0\x7e", b"AT+GMR\r\nATI\r\n", b"\x03\x03\x02\x04")
"""What programs say to a serial port to find out what it is; the last one would stop an unprotected MicroPython."""


class _Opened:
    """An opened transport; the line itself carries the bytes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        """Take nothing: the port sends."""

    def wake(self) -> None:
        """Do nothing: nobody waits."""

    def close(self) -> None:
        """Do nothing."""


class _Port:
    def __init__(self, line: Line, name: str) -> None:
        self.line = line
        self.name = name

    def send(self, data: bytes) -> None:
        self.line.host_sends(self, data)

    def close(self) -> None:
        self.line.host_closes(self)


class Line:
    """Carries bytes between the device at the window and whichever port the agent has open. Has the shape of the agent's `Ports`."""

    def __init__(self, scheduler: Scheduler, trace: Trace, who: str) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._down, self._up = FrameWatch(trace, f"{who} →"), FrameWatch(trace, f"{who} ←")
        self._port: _Port | None = None
        self._is_stale = False
        """The port that is open was opened before the cable was pulled."""
        self._bytes_in: Callable[[bytes], None] | None = None
        self._failed: Callable[[str], None] | None = None
        self._generation = 0
        self._changed: Callable[[], None] = lambda: None
        self.tells_of_ports = True
        """Whether this PC tells of ports that come; where it does not, they are found by looking again and again."""
        self._fifo: bytearray | None = None
        self.to_device: Callable[[bytes], None] = lambda _data: None
        """The device that is at the window."""
        self.name = NAMES[0]
        """Under which the PC knows the port; it is found by asking, so any name will do."""
        self.plugged = True
        self._out_s: float | None = None
        self.away: list[tuple[float, float]] = []
        """From when to when the cable was out."""
        self.is_dead = False
        """The port takes bytes and gives none, and nobody is told."""
        self.held_by_other = False
        self.opening_s = OPENING_S
        self.cuts_short = 0
        """So many of the host's writes lose their end."""
        self.noise: tuple[float, Random] | None = None
        """How often a piece is spoilt, and what decides how."""
        self.spoilt = 0

    # --- the agent's ports -----------------------------------------------------------------------------------

    def find(self, then: Callable[[list[str]], None]) -> None:
        """Say which ports there are."""
        self._scheduler.after(self.opening_s, lambda: then([NOBODY, self.name] if self.plugged else [NOBODY]))

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Tell of each plugging in, on a PC that tells of such."""
        if self.tells_of_ports:
            self._changed = changed
        return self._no_longer_tell

    def _no_longer_tell(self) -> None:
        self._changed = lambda: None

    def open(self, name: str, dtr: bool | None, rts: bool | None, then: Callable[[Transport | PortError], None]) -> None:  # noqa: ARG002  # the shape is the agent's
        """Open a port that is there and not held by anybody."""
        self._scheduler.after(self.opening_s, lambda: then(self._open(name)))

    def attach(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> OpenPort:
        """Give the open port its ears."""
        assert isinstance(transport, _Opened)  # noqa: S101  # it comes from `open`
        port = _Port(self, transport.name)
        if transport.name == NOBODY:
            return port
        if not self.plugged or transport.name != self.name:
            self._scheduler.after(0, lambda: failed("unplugged"))
            return port
        self._port, self._bytes_in, self._failed, self._is_stale = port, bytes_in, failed, False
        return port

    def _open(self, name: str) -> Transport | PortError:
        if name == NOBODY:
            return _Opened(name)
        if not self.plugged or name != self.name:
            return PortError(f"{name} is not there")
        if self.held_by_other or self._port is not None:
            return PortError(f"{name}: access denied")
        return _Opened(name)

    def host_closes(self, port: _Port) -> None:
        """Let go of a port."""
        if port is self._port:
            self.release()

    def release(self) -> None:
        """Forget who had the port open."""
        self._port = self._bytes_in = self._failed = None

    def process_gone(self) -> None:
        """Forget the agent altogether."""
        self._no_longer_tell()
        self.release()

    # --- bytes -----------------------------------------------------------------------------------------------

    def host_sends(self, port: _Port, data: bytes) -> None:
        """Carry bytes to the device."""
        if port is not self._port or self._is_stale:
            return
        self._down.feed(data)
        if self.cuts_short:
            self.cuts_short -= 1
            self.spoilt += 1
            data = data[: len(data) // 2]  # half a second without progress, and the driver drops the rest
        if not self.is_dead:
            self._carry(data, self.to_device)

    def device_sends(self, data: bytes) -> None:
        """Carry bytes to the port that is open when they arrive."""
        self._up.feed(data)
        if self._fifo is not None:
            self._overwrite(self._fifo, data)
        elif not self.is_dead:
            self._carry(data, self._to_host)

    def probe(self, random: Random) -> None:
        """Say to the device what a modem manager says to anything that looks like a modem."""
        self.to_device(random.choice(PROBES))

    def _to_host(self, data: bytes) -> None:
        if self._bytes_in is not None and not self._is_stale:
            self._bytes_in(data)

    def _carry(self, data: bytes, to: Callable[[bytes], None]) -> None:
        if not self.plugged or not data:
            return
        generation = self._generation
        for piece in self._spoil(data):
            self._scheduler.after(LATENCY_S, lambda piece=piece: to(piece) if generation == self._generation else None)  # type: ignore[misc]  # mypy cannot infer a lambda with a bound default

    def _spoil(self, data: bytes) -> list[bytes]:
        if self.noise is None or self.noise[1].random() >= self.noise[0]:
            return [data]
        random = self.noise[1]
        self.spoilt += 1
        at = random.randrange(len(data))
        kind = random.randrange(5)
        if kind == 0:
            return [data[:at], data[at:]]
        if kind == 1:
            return [data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]]
        if kind == 2:
            return [data[:at]]
        if kind == 3:
            return [data, data[at:]]
        return []

    # --- what happens to it ----------------------------------------------------------------------------------

    def unplug(self, *, noticed: bool = True) -> None:
        """Pull the cable; not noticed, the open port stays open and is dead (as Windows does it)."""
        self.plugged = False
        self._out_s = self._scheduler.now_s if self._out_s is None else self._out_s
        self._generation += 1
        failed = self._failed
        if noticed:
            self.release()
            if failed is not None:
                failed("unplugged")

    def plug(self, name: str | None = None) -> None:
        """Put the cable in, perhaps under another name. A handle from before is dead until it is closed."""
        self.plugged = True
        if self._out_s is not None:
            self.away.append((self._out_s, self._scheduler.now_s))
            self._out_s = None
        self.is_dead = False
        self.name = name or self.name
        self._is_stale = self._port is not None
        self._changed()

    def sleep(self) -> None:
        """The PC sleeps: what the device sends fills a small buffer and then overwrites it."""
        if self._fifo is None:
            self._fifo = bytearray()

    def wake(self) -> None:
        """The PC is awake: what is in the buffer comes out of it, in one piece and in no good order."""
        fifo, self._fifo = self._fifo, None
        if fifo:
            self._carry(bytes(fifo), self._to_host)

    def _overwrite(self, fifo: bytearray, data: bytes) -> None:
        room = FIFO_BYTES - len(fifo)
        fifo += data[:room]
        if data[room:]:
            self.spoilt += 1
            for at, byte in enumerate(data[room:], self.spoilt):
                fifo[at % FIFO_BYTES] = byte

    def mend(self) -> None:
        """Put everything right."""
        self.wake()
        self.noise = None
        self.cuts_short = 0
        self.is_dead = self.held_by_other = False
        self.opening_s = OPENING_S
        if not self.plugged:
            self.plug()
