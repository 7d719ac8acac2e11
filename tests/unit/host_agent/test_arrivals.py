"""Being told that a port has come: by a real kernel, and what comes of it."""

from __future__ import annotations

import errno
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from host_agent.link import arrivals
from host_agent.link.search import WAKE_EVERY_S, Search
from tests.agent_bench import at

WITHIN_S = 10.0
ADDED = b"add@/devices/x/tty/ttyACM0\0ACTION=add\0DEVPATH=/devices/x/tty/ttyACM0\0SUBSYSTEM=tty\0SEQNUM=1\0"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root has the kernel tell of a device anew")
@pytest.mark.skipif(sys.platform != "linux", reason="device events on netlink are Linux'")
def test_the_kernel_tells_of_a_terminal_and_no_more_after_the_end() -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = threading.enumerate()
    end = arrivals.watch(lambda: told.put(1))
    (thread,) = [one for one in threading.enumerate() if one not in before]
    Path("/sys/class/mem/null/uevent").write_text("add")  # no terminal: not told of
    Path("/sys/class/tty/tty/uevent").write_text("change")  # nothing came
    Path("/sys/class/tty/tty/uevent").write_text("add")
    told.get(timeout=WITHIN_S)
    end()
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    assert told.empty()


@pytest.mark.parametrize(
    ("message", "is_told"),
    [
        (ADDED, True),
        (ADDED.replace(b"add", b"remove"), True),
        (b"libudev\0\xfe\xed\xca\xfe" + ADDED, True),
        (ADDED.replace(b"add", b"change"), False),
        (ADDED.replace(b"=tty\0", b"=ttyx\0"), False),
        (ADDED.replace(b"=tty\0", b"=usb\0"), False),
        (b"", False),
    ],
)
def test_only_terminals_that_come_or_go_are_told_of(message: bytes, *, is_told: bool) -> None:
    assert arrivals.is_about_a_port(message) == is_told


class Events(socket.socket):
    """Stands for the netlink socket; the next answer of `recv` is an error."""

    def __init__(self, number: int) -> None:
        self.error = OSError(number, "")

    def recv(self, *_arguments: object) -> bytes:
        raise self.error


def test_more_events_than_the_socket_holds_are_taken_for_a_port() -> None:
    assert arrivals._tells(Events(errno.ENOBUFS))
    with pytest.raises(OSError):  # noqa: PT011  # whatever it is
        arrivals._tells(Events(errno.EBADF))


def test_where_nobody_tells_the_timed_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_changed: Callable[[], None]) -> Callable[[], None]:
        raise OSError("no such family")

    monkeypatch.setattr(arrivals, "_watch_kernel", refuses)
    monkeypatch.setattr(arrivals, "_watch_registry", refuses, raising=False)
    arrivals.watch(lambda: pytest.fail("nobody tells"))()


def test_a_search_that_waits_is_woken_once_for_many_tellings() -> None:
    search = Search(None)
    now_s = 0.0
    for _ in range(8):
        search.candidates([], at(now_s))
        search.failed(at(now_s))
        now_s = search.deadline_s()
    search.candidates(["COM3"], at(now_s))
    search.not_ours("COM3", at(now_s))
    search.failed(at(now_s))
    assert search.deadline_s() == now_s + 5.0
    search.wake(at(now_s + 1))
    assert (search.deadline_s(), search.needs_candidates) == (now_s + 1, True)
    search.candidates(["COM3"], at(now_s + 1))
    assert search.next_port(at(now_s + 1)) == "COM3", "another device may be there now"
    search.failed(at(now_s + 1))
    assert search.deadline_s() == now_s + 1.2, "from the shortest wait on: the port may need a moment for its rights"
    search.wake(at(now_s + 1.1))
    assert search.deadline_s() == now_s + 1.2
    search.wake(at(now_s + 1 + WAKE_EVERY_S))
    assert search.deadline_s() == now_s + 1 + WAKE_EVERY_S
