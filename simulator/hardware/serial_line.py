"""Lines between a simulated device and its host, which can be unplugged.

A line bridges the device's socket to a pseudo-terminal under a fixed name (Linux) or to one TCP client at a time (everywhere;
pyserial opens it as `socket://`). Unplugging makes the host's open port fail as pulling the cable does; what was on its way is
gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

CHUNK_BYTES = 4096


class PortInUse(Exception):
    """The address or path that was asked for belongs to something else; the text names it."""


class Plug(Protocol):
    """The host's side of a line while it is plugged in."""

    def fileno(self) -> int:
        """Return what becomes readable when the host sends, or -1 while there is no host."""

    def read(self) -> bytes:
        """Return bytes from the host; empty when there are none."""

    def write(self, data: bytes) -> None:
        """Send to the host; what it does not take is lost, as on USB without a reader."""

    def close(self) -> None:
        """Pull the cable."""


if sys.platform != "win32":
    import tty

    class PtyPlug:
        """A pseudo-terminal whose slave is found under `path`."""

        def __init__(self, path: Path) -> None:
            if path.exists() and not path.is_symlink():
                raise PortInUse(f"{path} exists and is not a simulated port")
            self._path = path
            self._master, self._slave = os.openpty()
            # the slave is held open, or the master would report a hang-up whenever no host has it open
            tty.setraw(self._slave)
            os.set_blocking(self._master, False)
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            path.symlink_to(os.ttyname(self._slave))

        def fileno(self) -> int:
            """Return the master."""
            return self._master

        def read(self) -> bytes:
            """Return bytes from the host."""
            try:
                return os.read(self._master, CHUNK_BYTES)
            except OSError:
                return b""

        def write(self, data: bytes) -> None:
            """Send to the host."""
            with contextlib.suppress(OSError):
                os.write(self._master, data)

        def close(self) -> None:
            """Pull the cable: an open slave gets a hang-up."""
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            os.close(self._slave)
            os.close(self._master)


class TcpPlug:
    """A listening socket on loopback that serves one host at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform != "win32":
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((host, port))
        except OSError as error:
            self._listener.close()
            raise PortInUse(f"{host}:{port} is in use by another program ({error.strerror})") from error
        self._listener.listen(1)
        self._host: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port in use; one was picked if 0 was asked for."""
        return int(self._listener.getsockname()[1])

    def fileno(self) -> int:
        """Return the connected host, or the listener while there is none."""
        return (self._host or self._listener).fileno()

    def read(self) -> bytes:
        """Return bytes from the host; takes a connection when there is none."""
        if self._host is None:
            self._host, _ = self._listener.accept()
            self._host.setblocking(False)
            self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return b""
        try:
            data = self._host.recv(CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._host.close()
            self._host = None
        return data

    def write(self, data: bytes) -> None:
        """Send to the host, if one is connected."""
        if self._host is not None:
            with contextlib.suppress(OSError):
                self._host.send(data)

    def close(self) -> None:
        """Pull the cable."""
        if self._host is not None:
            self._host.close()
        self._listener.close()


def plug_for(port: str) -> Plug:
    """Make the plug for `port`: `socket://127.0.0.1:7001`, or the path under which a pseudo-terminal shall appear."""
    if port.startswith("socket://"):
        parts = urlsplit(port)
        return TcpPlug(parts.hostname or "127.0.0.1", parts.port or 0)
    if sys.platform == "win32":
        raise PortInUse(f"{port}: Windows has no pseudo-terminals; use socket://127.0.0.1:7001")
    else:  # noqa: RET506  # what follows a platform's raise is unreachable to the type checker
        return PtyPlug(Path(port))


class SerialLine:
    """Carries bytes between `device` and whatever is plugged in, in a thread of its own."""

    def __init__(self, port: str) -> None:
        self.port = port
        self.device_end, self._near = socket.socketpair()
        self.device_end.setblocking(False)
        self._near.setblocking(False)
        self._plug: Plug | None = None
        self._lock = threading.Lock()
        self._wake_out, self._wake_in = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"line {port}", daemon=True)
        self._thread.start()

    @property
    def is_plugged(self) -> bool:
        """Tell whether the cable is in."""
        return self._plug is not None

    def plug(self) -> None:
        """Put the cable in; PortInUse when its place is taken."""
        with self._lock:
            if self._plug is None:
                self._plug = plug_for(self.port)
                if isinstance(self._plug, TcpPlug):
                    self.port = f"socket://127.0.0.1:{self._plug.port}"
        self._wake_in.send(b"w")

    def unplug(self) -> None:
        """Pull the cable."""
        with self._lock:
            if self._plug is not None:
                self._plug.close()
                self._plug = None
        self._wake_in.send(b"w")

    def close(self) -> None:
        """Pull the cable and end the thread."""
        self.unplug()
        self._stopping = True
        self._wake_in.send(b"w")
        self._thread.join()
        for end in (self.device_end, self._near, self._wake_in, self._wake_out):
            end.close()

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                far = self._plug.fileno() if self._plug else -1
            waiting = [self._near.fileno(), self._wake_out.fileno()] + ([far] if far >= 0 else [])
            try:
                ready, _, _ = select.select(waiting, [], [])
            except (OSError, ValueError):
                continue  # unplugged while waiting
            if self._wake_out.fileno() in ready:
                self._wake_out.recv(CHUNK_BYTES)
            with self._lock:
                if self._near.fileno() in ready:
                    data = self._near.recv(CHUNK_BYTES)
                    if self._plug and data:
                        self._plug.write(data)
                if self._plug and far in ready and self._plug.fileno() == far:
                    data = self._plug.read()
                    if data:
                        with contextlib.suppress(BlockingIOError):
                            self._near.send(data)
