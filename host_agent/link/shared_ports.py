"""The ports of one machine among several windows: no two of them try the same port at the same time.

Each window's agent searches on its own, in a thread of its own, as if it were alone. A port that another window has, or is just
asking, is not offered to it; a port is free again when its handle is really closed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from host_agent.errors import PortBusyError, PortError
from host_agent.link.port import OpenPort, Ports, Transport


class SharedPorts:
    """Hands the machine's ports to the windows; `for_window` is what each of them gets."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}

    def for_window(self, window: str) -> Ports:
        """Return the ports as one window sees them."""
        return _WindowPorts(self, self._ports, window)

    def is_free(self, port: str, window: str) -> bool:
        """Tell whether no other window has a port."""
        with self._lock:
            return self._held.get(port, window) == window

    def take(self, port: str, window: str) -> str | None:
        """Take a port, or return the window that has it: perhaps the same, whose handle is not closed yet."""
        with self._lock:
            holder = self._held.get(port)
            if holder is None:
                self._held[port] = window
            return holder

    def release(self, port: str) -> None:
        """Give a port back."""
        with self._lock:
            self._held.pop(port, None)


class _WindowPorts:
    def __init__(self, shared: SharedPorts, ports: Ports, window: str) -> None:
        self._shared = shared
        self._ports = ports
        self._window = window

    def find(self, then: Callable[[list[str]], None]) -> None:
        self._ports.find(lambda found: then([name for name in found if self._shared.is_free(_one_name(name), self._window)]))

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        return self._ports.watch(changed)

    def open(self, name: str, dtr: bool | None, rts: bool | None, then: Callable[[Transport | PortError], None]) -> None:
        port = _one_name(name)  # once: a link may lead elsewhere when the port is given back
        holder = self._shared.take(port, self._window)
        if holder is not None:
            then(PortBusyError(f"{name} 窗口 {holder} 正在使用 is in use by window {holder} of this PC"))
            return

        def opened(outcome: Transport | PortError) -> None:
            if isinstance(outcome, PortError):
                self._shared.release(port)
                then(outcome)
            else:
                then(_Held(outcome, lambda: self._shared.release(port)))

        self._ports.open(name, dtr, rts, opened)

    def attach(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> OpenPort:
        return self._ports.attach(transport, bytes_in, failed)


class _Held:
    """A line that gives its port back when it is closed."""

    def __init__(self, transport: Transport, release: Callable[[], None]) -> None:
        self._transport = transport
        self._release = release
        self.read = transport.read
        self.write = transport.write
        self.wake = transport.wake

    def close(self) -> None:
        try:
            self._transport.close()
        finally:
            self._release()


def _one_name(name: str) -> str:
    """Return the one name of a port that has several: links to a terminal, or COM3 in small letters."""
    return os.path.realpath(name) if name.startswith("/") else name.upper()
