"""What serial lines and USB have done to others, one scenario each: rows 1 to 16 of the hazards that the link is built for.

`LESSONS` says which tests stand for which hazard, and a test checks that they are there. The scenarios below run the real firmware
and the real conversation over a line that behaves as the hazard says, or the real port and attachment over a driver that does.
"""

from __future__ import annotations

import ast
import os
import random
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import serial
import serial.tools
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from host_agent.link import port as module
from host_agent.link.conversation import Conversation, LinkState
from host_agent.link.events import Answered, Event, Identified, Received
from host_agent.link.port import open_transport
from protocol.messages import SignIn
from protocol.record import Kind
from simulator.device.in_process import BenchDevice
from tests.agent_bench import SESSION, at
from tests.device_bench import bench

if os.name == "nt":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)
assert sys.platform != "win32"

from tests.unit.host_agent.test_attachment import Loop, Terminal, answer, eventually, identify, no_port_threads  # noqa: E402  # that module skips itself without pseudo-terminals

ROOT = Path(__file__).resolve().parents[3]
HERE = "tests/unit/host_agent/test_link_lessons.py"
ATTACHMENT = "tests/unit/host_agent/test_attachment.py"
CONVERSATION = "tests/unit/host_agent/test_conversation.py"
LINK = "tests/unit/firmware/test_firmware_link.py"
BUILT = "tests/on_vm/test_built_firmware.py"
LESSONS = {
    (1, "a handle that is dead though it says it is open"): [f"{HERE}::test_lesson_01_02_a_stale_handle_is_closed_at_once"],
    (2, "the same fault under another name on every PC"): [f"{HERE}::test_lesson_01_02_a_stale_handle_is_closed_at_once"],
    (3, "access denied right after a close, or held by another program"): [
        f"{HERE}::test_lesson_03_a_port_that_is_held_is_tried_ever_less_often_and_named",
        "tests/unit/host_agent/test_search.py::test_a_configured_port_is_the_only_one_and_tried_ever_less_often",
        f"{ATTACHMENT}::test_a_closed_port_says_nothing_more_and_lets_go_at_once",
    ],
    (4, "a list of ports that takes ten seconds"): [
        f"{HERE}::test_lesson_04_nothing_waits_for_a_list_of_ports_that_takes_its_time"
    ],
    (5, "no serial number in the USB data, or the same for all"): [
        f"{HERE}::test_lesson_05_who_the_device_is_comes_from_its_hello"
    ],
    (6, "serial ports under asyncio"): [f"{ATTACHMENT}::test_a_cable_that_is_pulled_is_told_once"],
    (7, "a link that does not come back after a sleep"): [
        f"{HERE}::test_lesson_07_12_a_mute_line_is_opened_again_and_again_until_it_answers"
    ],
    (8, "DTR and RTS that help one board and break another"): [
        f"{HERE}::test_lesson_08_dtr_and_rts_are_as_configured_before_the_port_opens",
        f"{HERE}::test_lesson_08_dtr_and_rts_are_as_the_board_needs_them",
    ],
    (9, "a write that makes no progress for 500 ms and is cut short"): [
        f"{HERE}::test_lesson_09_frames_cut_short_cost_no_record",
        f"{LINK}::test_a_host_that_does_not_read_costs_no_press_and_no_record",
    ],
    (10, "0x03 in the data"): [
        "tests/unit/protocol/test_framing.py::test_no_control_byte_is_left_inside",
        f"{BUILT}::test_control_c_on_the_line_ends_nothing",
    ],
    (11, "old bytes in the transmit buffer silently replaced"): [f"{HERE}::test_lesson_11_overwritten_bytes_cost_no_record"],
    (12, "a port that is mute until it is plugged in again"): [
        f"{HERE}::test_lesson_07_12_a_mute_line_is_opened_again_and_again_until_it_answers",
        "tests/unit/firmware/test_firmware_mute.py::test_lesson_12_a_silent_host_that_is_there_for_ten_minutes_is_a_mute_port",
        f"{BUILT}::test_lesson_12_a_mute_usb_port_is_reset_and_one_without_a_pc_is_not",
    ],
    (13, "every other command lost"): [
        f"{HERE}::test_lesson_13_when_every_other_write_is_lost_requests_and_records_come_through"
    ],
    (14, "a device that talks on its own"): [f"{LINK}::test_a_device_says_nothing_of_its_own_before_hello_and_start"],
    (15, "ModemManager's AT commands"): [
        f"{HERE}::test_lesson_15_a_device_that_was_probed_as_a_modem_answers_hello",
        f"{LINK}::test_noise_is_not_answered_and_the_hello_after_it_is",
    ],
    (16, "a path that changes"): [f"{HERE}::test_lesson_16_a_device_that_comes_back_under_another_name_is_found"],
}


def test_every_lesson_has_its_tests() -> None:
    assert {number for number, _ in LESSONS} == set(range(1, 17))
    for (number, _), names in LESSONS.items():
        assert names, number
        for name in names:
            file, function = name.split("::")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


# --- drivers -----------------------------------------------------------------------------------------------------


class Driver:
    """A serial port as pyserial gives it; `fault` is raised by every operation from the moment it is set."""

    def __init__(self, name: str, **_more: Any) -> None:
        self.name = name
        self.is_open = False
        self.fault: Exception | None = None
        self.opening: Exception | None = None
        self.told: list[str] = []
        self.closed_by: str | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("dtr", "rts"):
            self.told.append(f"{name} {value}")
        super().__setattr__(name, value)

    def open(self) -> None:
        self.told.append("open")
        if self.opening is not None:
            raise self.opening
        self.is_open = True

    def close(self) -> None:
        """Let go; `is_open` stays as it was, as it does with some drivers."""
        self.closed_by = threading.current_thread().name

    def _operate(self) -> None:
        if self.fault is not None:
            raise self.fault

    @property
    def in_waiting(self) -> int:
        self._operate()
        return 0

    def read(self, _count: int) -> bytes:
        self._operate()
        threading.Event().wait(0.01)
        return b""

    def write(self, _data: bytes) -> None:
        self._operate()

    def cancel_read(self) -> None:
        self._operate()

    def cancel_write(self) -> None:
        self._operate()


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> list[Driver]:
    made: list[Driver] = []

    def make(name: str, **more: Any) -> Driver:
        made.append(Driver(name, **more))
        return made[-1]

    monkeypatch.setattr(serial, "serial_for_url", make)
    return made


@pytest.mark.parametrize(
    "fault",
    [
        serial.SerialException(
            "ClearCommError failed (PermissionError(13, 'The device does not recognize the command.', None, 22))"
        ),
        PermissionError(13, "Access is denied"),
        OSError(5, "Input/output error"),
        serial.SerialException("device reports readiness to read but returned no data"),
        TypeError("'NoneType' object cannot be interpreted as an integer"),
    ],
)
def test_lesson_01_02_a_stale_handle_is_closed_at_once(drivers: list[Driver], fault: Exception) -> None:
    loop = Loop("COM7")
    loop.until(lambda: loop.attachment.conversation is not None)
    drivers[0].fault = fault
    loop.until(lambda: loop.attachment.conversation is None)
    assert drivers[0].is_open  # which nobody believes
    eventually(lambda: drivers[0].closed_by)
    assert drivers[0].closed_by == "port reader"
    assert "COM7" in loop.trouble()
    loop.until(lambda: loop.attachment.conversation is not None, 0.1)
    assert len(drivers) == 2  # a new handle
    loop.attachment.close()
    eventually(no_port_threads)


def test_lesson_03_a_port_that_is_held_is_tried_ever_less_often_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tried_s: list[float] = []
    loop = Loop("COM7")

    def make(name: str, **more: Any) -> Driver:
        tried_s.append(loop.now.mono_s)
        driver = Driver(name, **more)
        if len(tried_s) <= 7:
            driver.opening = serial.SerialException(
                "could not open port 'COM7': PermissionError(13, 'Access is denied.', None, 5)"
            )
        return driver

    monkeypatch.setattr(serial, "serial_for_url", make)
    loop.until(lambda: len(tried_s) == 7, 0.05)
    assert "close that program" in loop.trouble()
    waits_s = [round(later - earlier, 1) for earlier, later in pairwise(tried_s)]
    assert waits_s[0] < 1.0
    assert max(waits_s) <= 6.0
    assert waits_s[-1] > 4 * waits_s[0]
    loop.until(lambda: loop.attachment.conversation is not None, 0.5)
    loop.attachment.close()
    eventually(no_port_threads)


def test_lesson_04_nothing_waits_for_a_list_of_ports_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, listing = threading.Event(), threading.Event()

    def slow() -> list[str]:
        listing.set()
        assert go_on.wait(10)
        return []

    monkeypatch.setattr(module, "list_candidates", slow)
    loop = Loop(None)
    loop.step()
    assert listing.wait(5)
    for _ in range(100):  # were any of these to wait for the list, it would never come
        loop.step(0.1)
    assert loop.attachment.state == "opening"
    go_on.set()
    loop.until(loop.trouble)
    loop.attachment.close()


def test_lesson_05_who_the_device_is_comes_from_its_hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminals = [Terminal(tmp_path / name) for name in ("a-modem", "b-device")]
    monkeypatch.setattr(module, "list_candidates", lambda: [str(terminal.path) for terminal in terminals])
    loop = Loop(None)
    loop.until(lambda: loop.attachment.port_name == str(terminals[0].path))
    os.write(terminals[0].master, b"\r\nOK\r\n")
    loop.until(lambda: loop.attachment.port_name == str(terminals[1].path), 0.5)
    answer(loop, terminals[1], identify)
    loop.until(lambda: loop.attachment.is_talking)
    assert [event.answer.device for event in loop.events if isinstance(event, Identified)] == ["PJ-0001"]
    loop.attachment.close()
    for terminal in terminals:
        terminal.pull()


def test_lesson_07_12_a_mute_line_is_opened_again_and_again_until_it_answers(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "port")
    loop = Loop(str(terminal.path))
    answer(loop, terminal, identify)
    loop.until(lambda: loop.attachment.is_talking)
    terminal.read()
    loop.until(lambda: loop.attachment.state == "silent", 0.5)  # the PC has woken, the device is mute
    assert "plug it in again" in loop.trouble()
    loop.until(partial_lost(loop), 0.5)
    for _ in range(3):
        loop.until(lambda: loop.attachment.conversation is not None, 0.5)
        loop.until(lambda: loop.attachment.conversation is None, 0.5)
    assert "plug it in again" in loop.trouble()
    terminal.pull()
    terminal = Terminal(tmp_path / "port")
    loop.until(lambda: loop.attachment.conversation is not None, 0.5)
    answer(loop, terminal, identify)  # a hello, whatever was before
    loop.until(lambda: loop.attachment.is_talking)
    assert not loop.trouble()
    loop.attachment.close()
    terminal.pull()


def partial_lost(loop: Loop) -> Callable[[], bool]:
    return lambda: loop.has_lost(1)


@pytest.mark.parametrize(("dtr", "rts"), [(True, False), (False, False), (True, True), (False, True)])
def test_lesson_08_dtr_and_rts_are_as_configured_before_the_port_opens(drivers: list[Driver], *, dtr: bool, rts: bool) -> None:
    open_transport("COM7", dtr=dtr, rts=rts).close()
    assert drivers[0].told == [f"dtr {dtr}", f"rts {rts}", "open"]


@pytest.mark.parametrize(
    ("vendor", "product", "told"),
    [
        (0x2E8A, 0x0005, (True, False)),  # a Pico's own USB: with DTR low it keeps silent
        (0x303A, 0x4001, (True, False)),
        (0x303A, 0x1001, (False, False)),  # there, and behind a bridge chip, the lines lead to reset and boot
        (0x10C4, 0xEA60, (False, False)),
        (0x1A86, 0x7523, (False, False)),
        (0x0403, 0x6001, (False, False)),
        (0x067B, 0x2303, (False, False)),
        (None, None, (True, False)),
        (0x1234, 0x5678, (True, False)),
    ],
)
def test_lesson_08_dtr_and_rts_are_as_the_board_needs_them(
    drivers: list[Driver],
    monkeypatch: pytest.MonkeyPatch,
    vendor: int | None,
    product: int | None,
    told: tuple[bool, bool],
) -> None:
    other, there = ListPortInfo("COM6"), ListPortInfo("COM7")
    other.vid, other.pid = 0x10C4 if told[0] else 0x2E8A, 1
    there.vid, there.pid = vendor, product
    monkeypatch.setattr(list_ports, "comports", lambda: [other, there])
    open_transport("COM7").close()
    open_transport("COM7", dtr=not told[0]).close()
    assert [driver.told[:2] for driver in drivers] == [
        [f"dtr {told[0]}", f"rts {told[1]}"],
        [f"dtr {not told[0]}", f"rts {told[1]}"],  # what is configured wins
    ]


def test_ports_that_cannot_be_listed_are_opened_all_the_same(drivers: list[Driver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(list_ports, "comports")
    open_transport("COM7").close()
    monkeypatch.delattr(serial.tools, "list_ports")
    monkeypatch.setitem(sys.modules, "serial.tools.list_ports", None)  # a Windows without the libraries for it: wine
    open_transport("COM7").close()
    assert [driver.told[:2] for driver in drivers] == 2 * [["dtr True", "rts False"]]


def test_lesson_16_a_device_that_comes_back_under_another_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(tmp_path / "ttyACM0")
    monkeypatch.setattr(module, "list_candidates", lambda: [str(terminal.path)])
    loop = Loop(None)
    answer(loop, terminal, identify)
    loop.until(lambda: loop.attachment.is_talking)
    terminal.pull()
    terminal = Terminal(tmp_path / "ttyACM1")
    loop.until(partial_lost(loop))
    loop.until(lambda: loop.attachment.conversation is not None, 0.5)
    answer(loop, terminal, identify)
    loop.until(lambda: loop.attachment.is_talking)
    assert loop.attachment.port_name == str(terminal.path)
    loop.attachment.close()
    terminal.pull()


# --- lines -------------------------------------------------------------------------------------------------------

Spoil = Callable[[bytes], bytes]


def whole(data: bytes) -> bytes:
    return data


def talk(device: BenchDevice, to_host: Spoil, to_device: Spoil, seconds: float) -> tuple[Conversation, list[Event]]:
    """Let the real firmware and the real conversation talk over a line, and acknowledge what comes."""
    conversation = Conversation(SESSION, at(0))
    events: list[Event] = []
    next_seq = 0
    for step in range(int(seconds * 100)):
        now = at(step / 100)
        device.board.to_device += to_device(conversation.take_output())
        device.run(10)
        heard = to_host(bytes(device.board.from_device))
        device.board.from_device.clear()
        new = conversation.receive(heard, now) + conversation.tick(now)
        for event in new:
            if isinstance(event, Identified):
                conversation.start(next_seq, now)
                conversation.request(SignIn(staff="017"), now)
            elif isinstance(event, Received):
                next_seq = event.record.seq + 1
                conversation.acknowledge(next_seq)
        events += new
    return conversation, events


def pressed(count: int) -> BenchDevice:
    device = bench(change_ms=1, rest_ms=1)
    for number in range(count):
        device.press(number % 5)
        device.run(20)
    return device


def assert_all_arrived(events: list[Event], presses: int) -> None:
    records = [event.record for event in events if isinstance(event, Received)]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert sum(record.kind is Kind.RATING for record in records) == presses


def test_lesson_09_frames_cut_short_cost_no_record() -> None:
    draw = random.Random(9)
    cut = 0

    def stalls(data: bytes) -> bytes:
        nonlocal cut
        if data and draw.random() < 0.4:
            cut += 1
            return data[: draw.randrange(len(data))]  # the write was given up after 500 ms, and nobody was told
        return data

    _, events = talk(pressed(30), stalls, whole, 30)
    assert cut > 10
    assert_all_arrived(events, 30)


def test_lesson_11_overwritten_bytes_cost_no_record() -> None:
    draw = random.Random(11)
    kept = b""
    overwritten = 0

    def overwritable(data: bytes) -> bytes:
        """While the PC does not read, the newest 256 bytes are kept in place of the oldest; then that stale tail is sent."""
        nonlocal kept, overwritten
        kept += data
        if draw.random() < 0.97:
            overwritten += max(0, len(kept) - 256)
            kept = kept[-256:]
            return b""
        kept, tail = b"", kept
        return tail

    reading = 0

    def after_resume(data: bytes) -> bytes:
        nonlocal reading
        reading += 1
        return overwritable(data) if reading < 1500 else data

    _, events = talk(pressed(30), after_resume, whole, 30)
    assert overwritten > 1000
    assert_all_arrived(events, 30)


def test_lesson_13_when_every_other_write_is_lost_requests_and_records_come_through() -> None:
    writes = 0

    def every_other(data: bytes) -> bytes:
        nonlocal writes
        if not data:
            return data
        writes += 1
        return data if writes % 2 else b""

    conversation, events = talk(pressed(10), whole, every_other, 30)
    assert conversation.state is LinkState.TALKING
    assert_all_arrived(events, 10)
    answers = [event for event in events if isinstance(event, Answered)]
    assert answers
    assert not any(event.gave_up for event in answers)


def test_lesson_15_a_device_that_was_probed_as_a_modem_answers_hello() -> None:
    device = pressed(3)
    for probe in (b"AT\r", b"ATZ\r", b"AT+CGMM\r\n", b"AT+GCAP\r", b"~\x00x\xf0~", b"\x00AT\r", b"ATI\r" * 40):
        device.board.to_device += probe
        device.run(100)
        assert not device.board.from_device
    _, events = talk(device, whole, whole, 3)
    assert_all_arrived(events, 3)
