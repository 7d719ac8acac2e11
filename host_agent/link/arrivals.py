"""Being told that a serial port has come or gone: a search that waits need not wait any longer.

Linux: the kernel's and udev's device events, on a netlink socket. Windows: the part of the registry in which every serial port has
its entry, for which no window and no right is needed. Either only wakes; what is there is found out by looking, and where nobody
tells, the timed search goes on as before. Several tellings of one plugging in are for the caller to take as one.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

log = logging.getLogger("agent.link")

NETLINK_KOBJECT_UEVENT: Final = 15
KERNEL_AND_UDEV: Final = 1 | 2
"""The kernel tells first; udev when it has given the port its rights and its links."""
MESSAGE_BYTES: Final = 8192
TTY: Final = b"\0SUBSYSTEM=tty\0"
COME_OR_GONE: Final = (b"\0ACTION=add\0", b"\0ACTION=remove\0")
LISTENING_WITHIN_S: Final = 5.0
DEVICE_MAP: Final = r"HARDWARE\DEVICEMAP"
"""Its key SERIALCOMM has the ports; it is made with the first of them."""


def watch(changed: Callable[[], None]) -> Callable[[], None]:
    """Have `changed` called, from a thread, whenever a serial port may have come or gone; return what ends that."""
    try:
        if sys.platform == "linux":  # not two `if`: to a type checker the second would be unreachable
            return _watch_kernel(changed)
        elif sys.platform == "win32":  # noqa: RET505  # as above
            return _watch_registry(changed)
    except OSError as error:
        log.info(
            "端口变化无法获知，改为定时查找 nobody tells of ports that come; they are looked for from time to time: %s", error
        )
    return lambda: None


def is_about_a_port(message: bytes) -> bool:
    """Tell whether a device event says that a terminal came or went."""
    return TTY in message and any(word in message for word in COME_OR_GONE)


def _watch_kernel(changed: Callable[[], None]) -> Callable[[], None]:
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)  # type: ignore[attr-defined,unused-ignore]  # Linux
    try:
        events.bind((0, KERNEL_AND_UDEV))
    except OSError:
        events.close()
        raise
    ended, end = socket.socketpair()

    def work() -> None:
        with events, ended:
            while ended not in (ready := select.select([events, ended], [], [])[0]):
                if ready and _tells(events):
                    changed()

    threading.Thread(target=work, name="arrivals", daemon=True).start()
    return end.close


def _tells(events: socket.socket) -> bool:
    try:
        return is_about_a_port(events.recv(MESSAGE_BYTES))
    except OSError as error:
        if error.errno == errno.ENOBUFS:
            return True  # so much has happened that some of it was thrown away
        raise


if sys.platform == "win32":

    def _watch_registry(changed: Callable[[], None]) -> Callable[[], None]:
        import pywintypes
        import win32api
        import win32con
        import win32event

        try:
            machine: Any = win32con.HKEY_LOCAL_MACHINE  # its stubs want a handle, which this is
            key = win32api.RegOpenKeyEx(machine, DEVICE_MAP, 0, win32con.KEY_NOTIFY)  # type: ignore[arg-type]  # not a bool
        except pywintypes.error as error:
            raise OSError(str(error)) from error
        told, ended = (win32event.CreateEvent(None, False, False, None) for _ in range(2))
        listening = threading.Event()

        def listen() -> None:
            kinds = win32api.REG_NOTIFY_CHANGE_NAME | win32api.REG_NOTIFY_CHANGE_LAST_SET
            win32api.RegNotifyChangeKeyValue(key, True, kinds, told, True)  # for one change, and as long as this thread lives

        def work() -> None:
            listen()
            listening.set()
            while win32event.WaitForMultipleObjects([told, ended], False, win32event.INFINITE) == win32event.WAIT_OBJECT_0:
                listen()  # first, so that nothing is missed that comes while this change is told of
                changed()

        threading.Thread(target=work, name="arrivals", daemon=True).start()
        listening.wait(LISTENING_WITHIN_S)
        return lambda: win32event.SetEvent(ended)
