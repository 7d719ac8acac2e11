"""Port and attachment on real pseudo-terminals, in virtual time: nothing hangs, nothing leaks, the right thing is said."""

from __future__ import annotations

import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from host_agent.errors import PortError
from host_agent.instant import Instant
from host_agent.link import port as module
from host_agent.link.attachment import NO_ANSWER, Attachment
from host_agent.link.events import Event, Identified, Refused
from host_agent.link.port import Port, SystemPorts, Transport, open_transport
from protocol.errors import FrameError
from protocol.framing import FrameDecoder, encode_frame
from protocol.messages import ErrorCode, Hello, parse_message
from tests.agent_bench import at, error, hello_answer

if os.name == "nt":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)
assert sys.platform != "win32"

WAIT_S = 5.0


class Terminal:
    """A pseudo-terminal under a name that stays."""

    def __init__(self, path: Path) -> None:
        import tty

        self.path = path
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        path.unlink(missing_ok=True)
        path.symlink_to(os.ttyname(self._slave))

    def read(self) -> bytes:
        try:
            return os.read(self.master, 65536)
        except BlockingIOError:
            return b""

    def pull(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "port")
    yield made
    made.pull()


class Loop:
    """What an agent's thread does for an attachment, with time in the test's hand."""

    def __init__(self, port: str | None) -> None:
        self.posted: queue.SimpleQueue[Callable[[Instant], None]] = queue.SimpleQueue()
        self.events: list[Event] = []
        self.lost = 0
        self.now = at(0)
        self.attachment = Attachment(port, SystemPorts(), self.posted.put, self._handle, self._lost, entropy=os.urandom)

    def _handle(self, event: Event, now: Instant) -> None:
        self.events.append(event)
        if isinstance(event, Identified):
            assert self.attachment.conversation is not None
            self.attachment.conversation.start(0, now)

    def _lost(self, _now: Instant) -> None:
        self.lost += 1

    def has_lost(self, times: int) -> bool:
        return self.lost == times

    def trouble(self) -> str:
        return self.attachment.trouble or ""

    def step(self, seconds: float = 0.0) -> None:
        self.now = at(self.now.mono_s + seconds)
        while not self.posted.empty():
            self.posted.get()(self.now)
        self.attachment.step(self.now)

    def until(self, what: Callable[[], object], seconds_a_step: float = 0.0) -> None:
        deadline = time.monotonic() + WAIT_S
        while not what():
            assert time.monotonic() < deadline, (self.attachment.state, self.attachment.trouble)
            self.step(seconds_a_step)
            time.sleep(0.002)


def no_port_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("port ")]


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- the port ----------------------------------------------------------------------------------------------------


def test_a_line_that_takes_nothing_fails_and_says_so(terminal: Terminal) -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    port = Port(open_transport(str(terminal.path)), lambda _data: None, said.put)
    for _ in range(40):
        port.send(b"x" * 4096)  # never waits, whoever reads
    assert "takes nothing" in said.get(timeout=WAIT_S)
    eventually(no_port_threads)


def test_what_comes_with_the_byte_that_was_waited_for_is_read_with_it(terminal: Terminal) -> None:
    came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    port = Port(open_transport(str(terminal.path)), came.put, lambda _why: None)
    with pytest.raises(queue.Empty):
        came.get(timeout=0.1)  # the reader waits for its first byte
    os.write(terminal.master, bytes(range(5, 145)))
    assert came.get(timeout=WAIT_S) == bytes(range(5, 145))
    port.close()
    eventually(no_port_threads)


def test_a_closed_port_says_nothing_more_and_lets_go_at_once(terminal: Terminal) -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    for _ in range(5):
        port = Port(open_transport(str(terminal.path)), lambda _data: None, said.put)
        began_s = time.monotonic()
        port.close()
        eventually(no_port_threads)
        assert time.monotonic() - began_s < 0.4  # not a whole read time-out: the next opening would find it taken
    assert said.empty()


def test_a_cable_that_is_pulled_is_told_once(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "port")
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    port = Port(open_transport(str(terminal.path)), lambda _data: None, said.put)
    terminal.pull()
    assert said.get(timeout=WAIT_S)
    eventually(no_port_threads)
    port.send(b"x")
    port.close()
    assert said.empty()


def test_why_a_port_cannot_be_opened_is_said_in_words(terminal: Terminal, tmp_path: Path) -> None:
    with pytest.raises(PortError, match="does not exist; check the cable"):
        open_transport(str(tmp_path / "none"))
    held = open_transport(str(terminal.path))
    with pytest.raises(PortError, match="held by another program"):
        open_transport(str(terminal.path))
    held.close()
    held.wake()  # of a closed line: nothing
    (tmp_path / "file").write_text("")
    with pytest.raises(PortError):
        open_transport(str(tmp_path / "file"))
    with pytest.raises(PortError, match="cannot be opened"):
        open_transport("socket://127.0.0.1:1")


def test_a_socket_is_a_line_too() -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        name = f"socket://127.0.0.1:{server.getsockname()[1]}"
        port = Port(open_transport(name), heard.put, said.put)
        far, _ = server.accept()
        far.sendall(b"from the device")
        assert heard.get(timeout=WAIT_S) == b"from the device"
        port.send(b"to the device")
        assert far.recv(100) == b"to the device"
        far.close()
        assert "closed by the other side" in said.get(timeout=WAIT_S)
        eventually(no_port_threads)
        again = Port(open_transport(name), heard.put, said.put)
        far, _ = server.accept()
        again.close()
        eventually(no_port_threads)
        far.close()
    assert said.empty()


# --- the attachment ----------------------------------------------------------------------------------------------


def answer(loop: Loop, terminal: Terminal, reply: Callable[[Hello], bytes]) -> None:
    """Answer the next hello."""
    decoder = FrameDecoder()
    hellos: list[bytes] = []

    def heard() -> bool:
        for frame in decoder.feed(terminal.read()):
            assert not isinstance(frame, FrameError)
            message = parse_message(frame)
            if isinstance(message, Hello):
                data = reply(message)
                hellos.append(data[:1] + encode_frame_with(data, frame.correlation))
        return bool(hellos)

    loop.until(heard)
    os.write(terminal.master, hellos[-1])


def encode_frame_with(data: bytes, correlation: int) -> bytes:
    from dataclasses import replace

    (frame,) = FrameDecoder().feed(data)
    assert not isinstance(frame, FrameError)
    return encode_frame(replace(frame, correlation=correlation))


def identify(message: Hello) -> bytes:
    return encode_frame(hello_answer(session=message.session).frame(1))


def test_a_device_is_found_lost_and_found_again_under_the_same_name(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "port")
    loop = Loop(str(terminal.path))
    for round_ in range(1, 4):
        answer(loop, terminal, identify)
        loop.until(lambda: loop.attachment.is_talking)
        assert not loop.trouble()
        terminal.pull()
        loop.until(partial(loop.has_lost, round_))
        assert loop.trouble()
        terminal = Terminal(tmp_path / "port")
        loop.until(lambda: loop.attachment.conversation is not None, 0.5)
    loop.attachment.close()
    terminal.pull()


def test_fifty_ports_that_do_not_answer_leave_no_thread_and_one_line_in_the_log(
    terminal: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(str(terminal.path))
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            loop.until(lambda: loop.attachment.conversation is not None, 6.0)
            loop.step(1.0)
            loop.step(3.1)
            assert loop.attachment.state == "searching"
            eventually(no_port_threads)
    (told,) = [record.message for record in caplog.records]
    assert told.endswith(NO_ANSWER)
    loop.attachment.close()
    assert loop.lost == 0


def test_a_firmware_that_is_too_old_is_named_and_stays_named(terminal: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop(str(terminal.path))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            answer(loop, terminal, lambda _hello: encode_frame(error(ErrorCode.VERSION, 0).frame(1)))
            loop.until(lambda: loop.attachment.state == "refused")
            loop.step(3.1)
            assert loop.attachment.state in ("searching", "opening")
            assert "请大厅运维更新固件" in loop.trouble()
            assert "update the firmware" in loop.trouble()
            assert "device 0..0, 代理程序 agent 1..1" in loop.trouble()
            eventually(no_port_threads)
            loop.step(6.0)
    assert sum(isinstance(event, Refused) for event in loop.events) == 3
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    loop.attachment.close()


def test_an_agent_that_is_too_old_is_named(terminal: Terminal) -> None:
    loop = Loop(str(terminal.path))
    answer(loop, terminal, lambda _hello: encode_frame(error(ErrorCode.VERSION, 0x0203).frame(1)))
    loop.until(loop.trouble)
    assert "pip install --upgrade" in loop.trouble()
    assert "update the agent" in loop.trouble()
    assert "device 2..3, 代理程序 agent 1..1" in loop.trouble()
    loop.attachment.close()


def test_whatever_a_driver_raises_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class DriverError(Exception):
        pass

    def fails(*_arguments: object, **_more: object) -> list[str]:
        raise DriverError("Input/output error")

    monkeypatch.setattr(module, "list_candidates", fails)
    loop = Loop(None)
    loop.until(loop.trouble)
    assert "check the cable" in loop.trouble()
    monkeypatch.setattr(module, "list_candidates", lambda: ["COM1", "COM2"])
    monkeypatch.setattr(module, "open_transport", fails)
    loop.until(lambda: "COM1" in loop.trouble(), 6.0)
    loop.until(lambda: "COM2" in loop.trouble(), 6.0)
    loop.attachment.close()


def test_a_port_that_opens_after_the_end_is_closed(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    go_on = threading.Event()
    opened: list[Transport] = []

    def slowly(name: str, *, dtr: bool | None, rts: bool | None) -> Transport:
        assert go_on.wait(WAIT_S)
        opened.append(open_transport(name, dtr=dtr, rts=rts))
        return opened[0]

    monkeypatch.setattr(module, "open_transport", slowly)
    loop = Loop(str(terminal.path))
    loop.step()
    assert loop.attachment.state == "opening"
    assert loop.attachment.deadline_s() == float("inf")
    loop.attachment.close()
    go_on.set()
    loop.until(lambda: opened and loop.posted.empty())
    loop.until(lambda: loop.attachment.state == "searching")
    assert loop.attachment.conversation is None
    open_transport(str(terminal.path)).close()  # nobody holds it


def test_what_a_given_up_port_still_says_is_not_heard(terminal: Terminal) -> None:
    loop = Loop(str(terminal.path))
    answer(loop, terminal, identify)
    loop.until(lambda: not loop.posted.empty())
    loop.attachment.step(at(loop.now.mono_s + 3.1))  # too late by a moment
    assert loop.attachment.conversation is None
    loop.step()
    assert loop.events == []
    loop.attachment.close()


def test_damaged_data_is_told_once_for_each_kind(terminal: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop(str(terminal.path))
    loop.until(lambda: loop.attachment.conversation is not None)
    for _ in range(3):
        os.write(terminal.master, b"\x00AT+GMM\r\n\x00")
    conversation = loop.attachment.conversation
    assert conversation is not None
    loop.until(lambda: sum(conversation.counters.damaged.values()) == 3)
    told = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(told) == 1
    assert str(terminal.path) in told[0]
    assert "check cable" in told[0]
    loop.attachment.close()
