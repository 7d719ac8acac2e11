"""The simulated device in real time: the firmware on the MicroPython VM, over a real pseudo-terminal and over TCP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import Ack, Done, Hello, HelloAnswer, Message, RecordMessage, Start, parse_message
from protocol.record import Kind, Record, parse_record
from protocol.signing import derive_device_key, verify_record
from simulator.device.engine import VmEngine
from simulator.device.simulated import SimulatedDevice

pytestmark = [pytest.mark.e2e, pytest.mark.micropython]

HALL_KEY = bytes(range(32))
KEY = derive_device_key(HALL_KEY, "PJ-0001")
PATIENCE_S = 10.0
HELLO = Hello(version_min=1, version_max=1, schema_hash=0, session=7, window=4)
Make = Callable[[str], SimulatedDevice]


class PortHost:
    """A host with the real serial library; requests are repeated until answered, as every host must."""

    def __init__(self, port: str) -> None:
        self._port = serial.serial_for_url(port, timeout=0.05)
        self._decoder = FrameDecoder()
        self.records: list[Record] = []
        self.raw: list[bytes] = []

    def __enter__(self) -> PortHost:
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()

    def send(self, message: Message, correlation: int = 0) -> None:
        self._port.write(encode_frame(message.frame(correlation)))

    def listen(self) -> list[Message]:
        messages = [parse_message(f) for f in self._decoder.feed(self._port.read(256)) if isinstance(f, Frame)]
        for message in messages:
            if isinstance(message, RecordMessage):
                self.raw.append(message.record)
                self.records.append(parse_record(message.record))
        return messages

    def listen_until_it_fails(self) -> None:
        for _ in range(100):
            self.listen()

    def ask(self, message: Message, wanted: type[Message]) -> Message:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.send(message, 1)
            again = time.monotonic() + 1
            while time.monotonic() < again:
                for answer in self.listen():
                    if isinstance(answer, wanted):
                        return answer
        raise AssertionError(f"no {wanted.__name__}")

    def until(self, count: int) -> list[Record]:
        """Wait for so many records, and acknowledge none."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.records) < count:
            assert time.monotonic() < deadline, f"{len(self.records)} of {count} records came"
            self.listen()
        return self.records[:count]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Make]:
    made: list[SimulatedDevice] = []

    def make(port: str) -> SimulatedDevice:
        settings: dict[str, int | bool] = {"change_ms": 0, "rest_ms": 10}
        made.append(SimulatedDevice(tmp_path, "PJ-0001", HALL_KEY, port, engine=VmEngine, settings=settings))
        made[-1].plug_in()
        return made[-1]

    yield make
    for one in made:
        one.close()


def levels(records: list[Record]) -> list[int]:
    return [record.level for record in records if record.kind is Kind.RATING]


def test_hello_press_and_record_over_a_pty(device: Make, tmp_path: Path) -> None:
    port = str(tmp_path / "ttyHCP")
    simulated = device(port)
    with PortHost(port) as host:
        answer = host.ask(HELLO, HelloAnswer)
        assert isinstance(answer, HelloAnswer)
        assert (answer.device, answer.next_seq, answer.capacity) == ("PJ-0001", 1, 960)
        host.ask(Start(next_seq=1), Done)
        for button in range(5):
            simulated.press(button)
            host.until(button + 2)
            host.send(Ack(next_seq=button + 3))
    assert levels(host.records) == [5, 4, 3, 2, 1]
    for record, raw in zip(host.records, host.raw, strict=True):
        verify_record(KEY, record, raw)


def test_the_cable_is_pulled_while_records_flow_and_nothing_is_lost(device: Make, tmp_path: Path) -> None:
    port = str(tmp_path / "ttyHCP")
    simulated = device(port)
    for button in (0, 1, 2, 3):
        simulated.press(button)
    with PortHost(port) as host:
        host.ask(HELLO, HelloAnswer)
        host.ask(Start(next_seq=1), Done)
        host.until(2)
        simulated.unplug()
        with pytest.raises(serial.SerialException):
            host.listen_until_it_fails()
    simulated.press(4)
    simulated.plug_in()
    with PortHost(port) as again:
        again.ask(HELLO, HelloAnswer)
        again.ask(Start(next_seq=3), Done)
        again.until(4)
    assert [record.seq for record in again.records[:4]] == [3, 4, 5, 6]
    assert levels(again.records[:4]) == [4, 3, 2, 1]


def test_a_power_cut_keeps_the_journal(device: Make, tmp_path: Path) -> None:
    port = str(tmp_path / "ttyHCP")
    heard: list[tuple[str, int]] = []
    simulated = device(port)
    simulated._listener = lambda word, number: heard.append((word, number))
    for button in (0, 4):
        simulated.press(button)
    deadline = time.monotonic() + PATIENCE_S
    while heard.count(("sound", 2)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    simulated.cut_power()
    simulated.plug_in()
    simulated.press(2)
    with PortHost(port) as host:
        answer = host.ask(HELLO, HelloAnswer)
        assert isinstance(answer, HelloAnswer)
        assert answer.boot == 2
        host.ask(Start(next_seq=1), Done)
        records = host.until(4)
        host.send(Ack(next_seq=5))
        records = host.until(5)
    assert [(record.kind, record.level, record.boot) for record in records] == [
        (Kind.BOOT, 0, 1),
        (Kind.RATING, 5, 1),
        (Kind.RATING, 1, 1),
        (Kind.BOOT, 0, 2),
        (Kind.RATING, 3, 2),
    ]


def test_the_same_over_tcp(device: Make) -> None:
    simulated = device("socket://127.0.0.1:0")
    for _ in range(2):  # one host after the other
        with PortHost(simulated.line.port) as host:
            host.ask(HELLO, HelloAnswer)
            host.ask(Start(next_seq=1), Done)
            simulated.press(1)
            assert host.until(2)[1].level == 4
