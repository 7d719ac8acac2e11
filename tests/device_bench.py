"""A host for the device on the bench: says hello, asks, acknowledges, and keeps what it was sent.

Knows the contract only. Time stands still while it talks, unless a test moves it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from firmware.evaluator.identity import Identity
from protocol.errors import FrameError
from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import (
    Ack,
    Done,
    Error,
    Hello,
    HelloAnswer,
    Message,
    RecordMessage,
    Start,
    Status,
    StatusRequest,
    Unreadable,
    parse_message,
)
from protocol.record import Kind, Record, parse_record
from protocol.signing import derive_device_key, sign_receipt
from simulator.device.in_process import BenchDevice
from simulator.hardware.flash import MemoryFlash

DEVICE = "PJ-0001"
HALL_KEY = bytes(range(32))
KEY = derive_device_key(HALL_KEY, DEVICE)
EVALUATION = bytes(range(1, 17))
OTHER_EVALUATION = bytes(range(17, 33))
DIGEST = bytes(range(33, 49))

M = TypeVar("M", bound=Message)


class PaperIdentity(Identity):
    """Identity that lives as long as the test; it survives power cuts as the file does."""

    def __init__(self, **settings: int | bool) -> None:
        self.device = DEVICE.encode()
        self.key = KEY
        self.journals = 0
        self.settings = settings

    def begin_journal(self) -> int:
        self.journals += 1
        return self.journals - 1


def write_identity(path: Path, **settings: int | bool) -> Path:
    path.write_text(json.dumps({"device": DEVICE, "key": KEY.hex(), "journals": 0, "settings": settings}))
    return path


def bench(flash: MemoryFlash | None = None, *, now: int = 0, **settings: int | bool) -> BenchDevice:
    """A provisioned device that has been on for a moment."""
    device = BenchDevice(PaperIdentity(**settings), flash, now)
    device.run(100)
    return device


class Host:
    """Talks to `device`; unasked records and errors are kept in the order of arrival."""

    def __init__(self, device: BenchDevice, *, acknowledges: bool = True) -> None:
        self.device = device
        self.acknowledges = acknowledges
        self.records: list[Record] = []
        self.raw: dict[int, bytes] = {}
        self.unreadable: list[Unreadable] = []
        self.errors: list[Error] = []
        self.frames: list[Frame] = []
        self.next_seq = 0
        self._decoder = FrameDecoder()
        self._correlation = 0

    def send(self, message: Message, correlation: int = 0) -> None:
        self.send_frame(message.frame(correlation))

    def send_frame(self, frame: Frame) -> None:
        self.device.board.to_device += encode_frame(frame)

    def listen(self, ms: int = 20) -> list[Frame]:
        """Let the device run, acknowledge what comes, return every frame of that time."""
        heard: list[Frame] = []
        for _ in range(ms // 2):
            self.device.run(2)
            for frame in self._decoder.feed(bytes(self.device.board.from_device)):
                assert not isinstance(frame, FrameError), frame
                heard.append(frame)
                self._take(frame)
            self.device.board.from_device.clear()
        self.frames += heard
        return heard

    def _take(self, frame: Frame) -> None:
        message = parse_message(frame)
        if isinstance(message, RecordMessage):
            record = parse_record(message.record)
            if record.seq == self.next_seq or not self.records:
                self.records.append(record)
                self.raw[record.seq] = message.record
                self.next_seq = record.seq + 1
        elif isinstance(message, Unreadable):
            self.unreadable.append(message)
            if message.first_seq == self.next_seq:
                self.next_seq += message.count
        else:
            if isinstance(message, Error) and not frame.correlation:
                self.errors.append(message)
            return
        if self.acknowledges:
            self.send(Ack(next_seq=self.next_seq))

    def ask(self, message: Message | Frame, wanted: type[M]) -> M:
        """Send a request, return its answer, which must be of the kind `wanted`."""
        self._correlation += 1
        frame = message.frame(self._correlation) if isinstance(message, Message) else message
        self.send_frame(frame)
        answers = [heard for heard in self.listen() if heard.correlation == frame.correlation]
        assert len(answers) == 1, f"{len(answers)} answers to {message}"
        answer = parse_message(answers[0])
        assert isinstance(answer, wanted), answer
        return answer

    def hello(self, window: int = 8) -> HelloAnswer:
        request = Hello(version_min=1, version_max=1, schema_hash=0, session=7, window=window)
        return self.ask(request, HelloAnswer)

    def start(self, next_seq: int = 0, ms: int = 20) -> list[Frame]:
        """Ask for records; return what comes in the time that follows, after the answer."""
        self.next_seq = max(next_seq, 1)
        self._correlation += 1
        self.send(Start(next_seq=next_seq), self._correlation)
        done, *heard = self.listen(ms)
        assert (done.type, done.correlation) == (Done.CODE, self._correlation)
        return heard

    def join(self, next_seq: int = 0) -> Host:
        """Hello and start, as an agent does."""
        answer = self.hello()
        self.next_seq = max(next_seq, answer.oldest_seq)
        self.ask(Start(next_seq=next_seq), Done)
        return self

    def status(self) -> Status:
        return self.ask(StatusRequest(), Status)

    def receipt(self, next_seq: int) -> Message:
        return sign_receipt(KEY, DEVICE, next_seq, parse_record(self.raw[next_seq - 1]).mac, 1)

    def of(self, *kinds: Kind) -> list[Record]:
        return [record for record in self.records if record.kind in kinds]
