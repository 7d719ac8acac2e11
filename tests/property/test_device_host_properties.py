"""A device and a host over a line that drops, corrupts, splits and delays: every record arrives once and in order."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import Ack, Hello, HelloAnswer, Message, RecordMessage, Start, Time, TimeSource, parse_message
from protocol.record import Kind, parse_record
from simulator.device.in_process import BenchDevice
from tests.device_bench import PaperIdentity


class BadLine:
    """One direction of a line; `trouble` is the share of pieces that something happens to."""

    def __init__(self, random: Random, trouble: float) -> None:
        self._random = random
        self.trouble = trouble
        self._held = bytearray()

    def carry(self, data: bytes) -> bytes:
        random = self._random
        self._held += data
        if not self._held or random.random() < 0.3:
            return b""  # late
        count = random.randint(1, len(self._held))
        piece = bytearray(self._held[:count])
        del self._held[:count]
        if random.random() < self.trouble:
            fate = random.randrange(4)
            at = random.randrange(len(piece))
            if fate == 0:
                piece.clear()
            elif fate == 1:
                piece[at] ^= 1 << random.randrange(8)
            elif fate == 2:
                del piece[at:]
            else:
                piece[at:at] = random.randbytes(random.randint(1, 40))
        return bytes(piece)


class SmallHost:
    """The least that a host must do: hello until answered, start, acknowledge what it has, a heartbeat."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.next_seq = 0
        self._decoder = FrameDecoder()
        self._talking = False
        self._flowing = False
        self._heard = 0
        self._said = -10_000

    def step(self, now: int, data: bytes) -> bytes:
        out = b""
        for frame in self._decoder.feed(data):
            if isinstance(frame, Frame):
                self._heard = now
                out += self._take(parse_message(frame))
        if self._talking and now - self._heard > 3000:
            self._talking = False
        if now - self._said > (1000 if self._talking else 200):
            self._said = now
            if self._talking:
                out += encode_frame(Time(utc_ms=now, uncertainty_ms=1, source=TimeSource.FREE_RUNNING).frame(2))
                if not self._flowing:
                    out += encode_frame(Start(next_seq=self.next_seq).frame(3))  # the one after the hello may have been lost
            else:
                out += encode_frame(Hello(version_min=1, version_max=1, schema_hash=0, session=1, window=8).frame(1))
        return out

    def _take(self, message: Message) -> bytes:
        if isinstance(message, HelloAnswer):
            self._talking, self._flowing = True, False
            self.next_seq = max(self.next_seq, message.oldest_seq)
            return encode_frame(Start(next_seq=self.next_seq).frame(3))
        if not isinstance(message, RecordMessage):
            return b""
        self._flowing = True
        if parse_record(message.record).seq == self.next_seq:
            self.kept.append(message.record)
            self.next_seq += 1
        return encode_frame(Ack(next_seq=self.next_seq).frame())


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 32), trouble=st.floats(0, 0.4), presses=st.integers(0, 12))
@example(seed=1, trouble=0.9, presses=5)
@example(seed=8, trouble=0.3125, presses=8)
def test_every_record_arrives_once_and_in_order(seed: int, trouble: float, presses: int) -> None:
    random = Random(seed)
    device = BenchDevice(PaperIdentity(change_ms=0, rest_ms=10))
    host = SmallHost()
    up, down = BadLine(random, trouble), BadLine(random, trouble)
    due = sorted(random.randrange(100, 6000) for _ in range(presses))
    pressed: list[int] = []
    let_go = 0
    while device.now < 40_000:
        if due and device.now >= due[0] and not device.board.down and device.now - let_go > 60:
            due.pop(0)
            pressed.append(random.randrange(5))
            device.board.down = 1 << pressed[-1]
        elif device.board.down and random.random() < 0.05:
            device.board.down = 0
            let_go = device.now
        if device.now > 8000:
            up.trouble = down.trouble = 0
            if not due and host.next_seq == device.device.journal.next_seq:
                break
        device.run(10)
        said = up.carry(bytes(device.board.from_device))
        device.board.from_device.clear()
        device.board.to_device += down.carry(host.step(device.now, said))
    thanked = device.board.sounds.count(2)
    records = [parse_record(raw) for raw in host.kept]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    levels = [record.level for record in records if record.kind in (Kind.RATING, Kind.EXTRA)]
    assert len(levels) == thanked == len(pressed)
    assert levels == [5 - button for button in pressed]
    for before, after in pairwise(records):
        assert after.prev_mac == before.mac
