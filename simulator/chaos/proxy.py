"""A TCP proxy in front of a real server, that does to connections what networks do.

proxy = Proxy(broker.port)               # connect to proxy.port instead
proxy.hang()                             # half-open: both ends keep their connection, nothing goes through any more
proxy.heal()                             # new connections work again, those that hung stay dead
proxy.resume()                           # and those that hung go on where they were
proxy.cut()                              # every connection is reset
proxy.refuse()                           # and new ones as well, until it is healed
proxy.delay_s = 0.2                      # slow, both ways
proxy.close()
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"


class Proxy:
    """Carries bytes between clients and the server at `target` until `close`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self.delay_s = 0.0
        self.accepted = 0
        self._hanging = False
        self._thawed = 0
        """How often hanging connections were let go on."""
        self._refusing = False
        self._closing = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def hang(self) -> None:
        """Let nothing through any more, and keep every connection."""
        self._hanging = True

    def heal(self) -> None:
        """Let new connections through; those that hang go on hanging."""
        self._hanging = self._refusing = False

    def resume(self) -> None:
        """Let everything through again, also what has been waiting."""
        self._thawed += 1
        self.heal()

    def refuse(self) -> None:
        """Reset every connection, and each new one at once."""
        self._refusing = True
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it all."""
        self._closing = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            self.accepted += 1
            threading.Thread(target=self._carry, args=(near,), name="proxied", daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(near)
            try:
                far = stack.enter_context(socket.create_connection((HOST, self._target), 5))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
            hangs, thawed = False, self._thawed
            with contextlib.suppress(OSError):
                while not self._closing:
                    ready, _, _ = select.select([near, far], [], [], 0.05)
                    if thawed != self._thawed:
                        hangs, thawed = False, self._thawed
                    hangs = hangs or self._hanging
                    if hangs:
                        time.sleep(0.02)  # nothing is read: the sender's buffers fill, as with a peer that is gone
                        continue
                    for end in ready:
                        data = end.recv(65536)
                        if not data:
                            return
                        time.sleep(self.delay_s)
                        (far if end is near else near).sendall(data)
            with self._lock:
                self._open -= {near, far}
