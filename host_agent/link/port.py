"""The port: two threads around one open device file, COM port or socket (shell).

The reader hands over whatever arrives at once; the writer keeps a slow device from stalling the agent. Any failure closes the
handle in the thread that found it and is told once: a handle that failed once is never used again (on Windows it would stay
dead until it is closed). Whether a device is there is decided by its answers, never by `is_open`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

import serial

from host_agent.errors import PortError
from host_agent.link import arrivals
from host_agent.link.boards import LISTENING, Lines, lines

log = logging.getLogger("agent.link")

BAUD = 115_200
READ_TIMEOUT_S = 0.5
WRITE_TIMEOUT_S = 1.0
CHUNK_BYTES = 4096
_NOTHING_CAME = ", 1460)"
"""ERROR_TIMEOUT, which wine makes of a read's time-out; Windows itself calls it success with no bytes."""
USB_SERIAL_ONLY = ("ttyACM", "ttyUSB", "COM", "cu.usb")


class Transport(Protocol):
    """An open line."""

    def read(self) -> bytes:
        """Return what has arrived, waiting up to READ_TIMEOUT_S; PortError when the line is gone."""

    def write(self, data: bytes) -> None:
        """Send everything; PortError when the line is gone or takes nothing for WRITE_TIMEOUT_S."""

    def wake(self) -> None:
        """Make a read or write that is under way in another thread come back now; on a line that is closed, nothing."""

    def close(self) -> None:
        """Let go of the line."""


class _SerialTransport:
    def __init__(self, name: str, dtr: bool, rts: bool) -> None:
        self._lock = threading.Lock()  # a wake must not meet the descriptors of a line that is just being closed
        try:
            self._serial = serial.serial_for_url(
                name,
                baudrate=BAUD,
                timeout=READ_TIMEOUT_S,
                write_timeout=WRITE_TIMEOUT_S,
                exclusive=True,
                do_not_open=True,
            )
            self._serial.dtr, self._serial.rts = dtr, rts  # before opening: some boards reset on an edge
            self._serial.open()
        except (OSError, ValueError) as error:
            raise PortError(_why_not(name, error)) from error

    def read(self) -> bytes:
        try:
            data = bytes(self._serial.read(max(1, min(self._serial.in_waiting, CHUNK_BYTES))))
            if len(data) == 1 and (waiting := self._serial.in_waiting):
                data += self._serial.read(min(waiting, CHUNK_BYTES))  # what came with the byte that was waited for
            return data
        except (OSError, TypeError) as error:  # TypeError: pyserial's own, when closed during a read
            if _NOTHING_CAME in str(error):
                return b""
            raise PortError(f"端口中断，请检查连线 the port failed, check the cable: {error}") from error

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except (OSError, TypeError) as error:  # TypeError: as above
            raise PortError(
                f"端口无法写入，请重新插拔 the port takes nothing, unplug it and plug it in again: {error}"
            ) from error

    def wake(self) -> None:
        with self._lock, contextlib.suppress(OSError, AttributeError, TypeError):
            if self._serial.is_open:
                self._serial.cancel_read()
                self._serial.cancel_write()

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._serial.close()


class _SocketTransport:
    """`socket://host:port`; pyserial's own reads single bytes here, because it cannot tell how many wait."""

    def __init__(self, name: str) -> None:
        parts = urlsplit(name)
        try:
            self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), WRITE_TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, ValueError) as error:
            raise PortError(_why_not(name, error)) from error

    def read(self) -> bytes:
        try:
            ready, _, _ = select.select([self._socket], [], [], READ_TIMEOUT_S)
            if not ready:
                return b""
            data = self._socket.recv(CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise PortError(f"连接中断 the connection failed: {error}") from error
        if not data:
            raise PortError("连接已被对方关闭 the connection was closed by the other side")
        return data

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise PortError(f"连接无法写入 the connection takes nothing: {error}") from error

    def wake(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def open_transport(name: str, *, dtr: bool | None = None, rts: bool | None = None) -> Transport:
    """Open any name that pyserial's `serial_for_url` takes; PortError says why not. None: as the board behind it needs it."""
    if name.startswith("socket://"):
        return _SocketTransport(name)
    usual = _lines_for(name) if dtr is None or rts is None else LISTENING
    return _SerialTransport(name, usual.dtr if dtr is None else dtr, usual.rts if rts is None else rts)


class Port:
    """An open port; `bytes_in` and `failed` are called from its reader thread, `failed` at most once and last."""

    def __init__(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> None:
        self._transport = transport
        self._bytes_in = bytes_in
        self._failed = failed
        self._closing = threading.Event()
        self._given_up = False
        self._why = ""
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="port reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="port writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def send(self, data: bytes) -> None:
        """Queue bytes for the device; never waits."""
        self._out.put(data)

    def close(self) -> None:
        """Close; `failed` is not called any more. Comes back at once, the threads end on their own."""
        self._given_up = True
        self._closing.set()
        self._out.put(None)
        self._transport.wake()

    def _read(self) -> None:
        try:
            while not self._closing.is_set():
                data = self._transport.read()
                if data:
                    self._bytes_in(data)
        except PortError as error:
            self._why = self._why or str(error)
        self._closing.set()
        self._out.put(None)
        self._transport.wake()  # a writer in the middle of a write
        self._writer.join()
        self._transport.close()
        if not self._given_up:
            self._failed(self._why)

    def _write(self) -> None:
        try:
            while (data := self._out.get()) is not None and not self._closing.is_set():
                self._transport.write(data)
        except PortError as error:
            self._why = self._why or str(error)
        self._closing.set()
        self._transport.wake()


class OpenPort(Protocol):
    """A port in use."""

    def send(self, data: bytes) -> None:
        """Send bytes to the device; never waits."""

    def close(self) -> None:
        """Close; nothing is reported any more. Comes back at once."""


class Ports(Protocol):
    """The machine's ports. Listing and opening may take seconds: their outcome comes by a call, from any thread."""

    def find(self, then: Callable[[list[str]], None]) -> None:
        """Find the names of ports that may have a device."""

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called whenever a port may have come or gone, as far as anybody tells; return what ends that."""

    def open(self, name: str, dtr: bool | None, rts: bool | None, then: Callable[[Transport | PortError], None]) -> None:
        """Open a port, with these signals; None: as the board behind it needs it."""

    def attach(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> OpenPort:
        """Begin to read from an open port; `failed` is called at most once and last."""


class SystemPorts:
    """The real ports, listed and opened in a thread for each time."""

    def find(self, then: Callable[[list[str]], None]) -> None:
        """Find the machine's USB serial ports."""

        def work() -> None:
            try:
                found = list_candidates()
            except Exception as error:
                # whatever a driver's entries make of it: a thread that ends without a word would be waited for for ever
                log.warning("串口无法列出 the ports cannot be listed: %s", error)
                found = []
            then(found)

        threading.Thread(target=work, name="port list", daemon=True).start()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Listen to the system's device events."""
        return arrivals.watch(changed)

    def open(self, name: str, dtr: bool | None, rts: bool | None, then: Callable[[Transport | PortError], None]) -> None:
        """Open any name that pyserial takes."""

        def work() -> None:
            outcome: Transport | PortError
            try:
                outcome = open_transport(name, dtr=dtr, rts=rts)
            except PortError as error:
                outcome = error
            except Exception as error:  # the same
                outcome = PortError(f"{name} 无法打开 cannot be opened: {error!r}")
            then(outcome)

        threading.Thread(target=work, name="port open", daemon=True).start()

    def attach(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> OpenPort:
        """Read and write in two threads."""
        return Port(transport, bytes_in, failed)


def list_candidates() -> list[str]:
    """Return the names of the machine's USB serial ports. May take ten seconds where Bluetooth has ports too."""
    from serial.tools import list_ports  # here, for an agent on a network port or terminal never needs it and starts without

    return [port.device for port in list_ports.comports() if is_usb_serial(port.device)]


def is_usb_serial(name: str) -> bool:
    """Tell whether a port of this name may be one on USB."""
    return any(word in name for word in USB_SERIAL_ONLY)


def _lines_for(name: str) -> Lines:
    """Return the signals for the board behind a port; may take as long as `list_candidates`."""
    device = os.path.realpath(name) if name.startswith("/") else name
    if not is_usb_serial(device):
        return LISTENING
    try:
        from serial.tools import list_ports  # as above

        ids = [(port.vid, port.pid) for port in list_ports.comports() if port.device == device]
    except Exception as error:  # whatever a driver's entries make of it: the port may be good all the same
        log.warning("串口无法列出 the ports cannot be listed: %s", error)
        ids = []
    return lines(*ids[0]) if ids else LISTENING


def _why_not(name: str, error: Exception) -> str:
    text = str(error)
    if "Errno 16]" in text or "Errno 11]" in text or "PermissionError(13" in text or "exclusively lock" in text:
        return f"{name} 被其他程序占用，请关闭该程序 is held by another program; close that program"
    if "Errno 13]" in text:
        return f"{name} 无权限，请将运行账户加入 dialout 组 no permission; add the account to group dialout"
    if "Errno 2]" in text or "FileNotFoundError" in text or "No such file" in text:
        return f"{name} 不存在，请检查连线 does not exist; check the cable"
    return f"{name} 无法打开 cannot be opened: {text}"
