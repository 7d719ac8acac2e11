"""A device on a pseudo-terminal that does what it is told: answers an agent, sends given records, notes acks and receipts.

It keeps no window and repeats nothing: what is measured is the agent, not the device. One thread answers, the caller's sends.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from protocol.errors import FrameError
from protocol.framing import FrameDecoder, encode_frame
from protocol.messages import (
    Ack,
    Condition,
    Done,
    Hello,
    Message,
    Receipt,
    RecordMessage,
    SessionState,
    Start,
    Status,
    StatusRequest,
    Time,
    parse_message,
)
from tools.bench.codec import hello_answer
from tools.bench.paper import PaperDevice
from tools.bench.stage import NotHere


def raw_pty() -> tuple[int, int, str]:
    """Return both ends of a new pseudo-terminal that changes no byte, and the name of the second; NotHere on Windows."""
    if sys.platform == "win32":
        raise NotHere("Windows has no pseudo-terminals")
    else:  # noqa: RET506  # what follows a platform's raise is unreachable to the type checker
        import tty

        master, slave = os.openpty()
        tty.setraw(slave)
        return master, slave, os.ttyname(slave)


class PtyDevice:
    """A paper device at the far end of `path`; `started` is set when an agent asks for records."""

    def __init__(self, path: Path, paper: PaperDevice, *, answers: bool = True) -> None:
        self.path = path
        self._paper = paper
        self._master, self._slave, name = raw_pty()
        path.symlink_to(name)
        self._lock = threading.Lock()
        self._closing = False
        self._receipt_seq = 1
        self.started = threading.Event()
        self._covered = threading.Condition()
        self._covered_at_s = 0.0
        self._acked_seq = 1
        self._thread = threading.Thread(target=self._listen, args=(answers,), name="pty device", daemon=True)
        self._thread.start()

    def await_receipt(self) -> float:
        """Wait until a receipt covers what was sent; return when it came, on the monotonic clock."""
        with self._covered:
            if not self._covered.wait_for(lambda: self._receipt_seq == self._paper.next_seq, timeout=30):
                raise TimeoutError(f"receipt up to {self._receipt_seq}, written up to {self._paper.next_seq}")
            return self._covered_at_s

    def await_ack(self) -> None:
        """Wait until the agent has made durable all that was sent."""
        with self._covered:
            if not self._covered.wait_for(lambda: self._acked_seq == self._paper.next_seq, timeout=30):
                raise TimeoutError(f"ack up to {self._acked_seq}, written up to {self._paper.next_seq}")

    def frames(self, count: int) -> Iterator[bytes]:
        """Write so many records, one at a time, and yield their frames as they go over the line."""
        for _ in range(count):
            (raw,) = self._paper.write(1)
            yield encode_frame(RecordMessage(record=raw).frame())

    def send(self, data: bytes) -> None:
        """Put bytes on the line, all of them."""
        with self._lock:
            while data:
                data = data[os.write(self._master, data) :]

    def close(self) -> None:
        """Pull the cable."""
        self._closing = True
        self._thread.join()
        self.path.unlink()
        for end in (self._slave, self._master):
            os.close(end)

    def _listen(self, answers: bool) -> None:
        decoder = FrameDecoder()
        while not self._closing:
            ready, _, _ = select.select([self._master], [], [], 0.05)
            if not ready:
                continue
            data = b""
            with contextlib.suppress(OSError):
                data = os.read(self._master, 4096)
            for frame in decoder.feed(data) if answers else ():
                if not isinstance(frame, FrameError):
                    self._answer(parse_message(frame), frame.correlation)

    def _answer(self, message: Message, correlation: int) -> None:
        answer: Message | None = None
        if isinstance(message, Hello):
            answer = hello_answer(message.session, self._paper.name, self._paper.next_seq, self._receipt_seq)
        elif isinstance(message, Time | StatusRequest):
            answer = self._status()
        elif isinstance(message, Start):
            answer = Done()
        elif isinstance(message, Ack):
            with self._covered:
                self._acked_seq = message.next_seq
                self._covered.notify_all()
        elif isinstance(message, Receipt):
            with self._covered:
                self._receipt_seq, self._covered_at_s = message.next_seq, time.monotonic()
                self._covered.notify_all()
            answer = Done()
        if answer is not None:
            self.send(encode_frame(answer.frame(correlation)))
        if isinstance(message, Start):
            self.started.set()

    def _status(self) -> Status:
        paper = self._paper
        return Status(
            uptime_ms=1,
            utc_ms=0,
            uncertainty_ms=0,
            oldest_seq=1,
            next_seq=paper.next_seq,
            ack_seq=1,
            receipt_seq=self._receipt_seq,
            free=1000,
            state=SessionState.IDLE,
            conditions=Condition(0),
            evaluation=bytes(16),
            staff="",
            stuck_keys=0,
            bad_frames=0,
            resent=0,
        )
