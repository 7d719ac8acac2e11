"""The smallest parts: a durable commit, and a frame on its way from bytes to event."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from host_agent.instant import Instant
from host_agent.link.conversation import Conversation
from host_agent.link.events import Received
from host_agent.store.database import Writer
from host_agent.store.outbox import Outbox
from protocol import PROTOCOL_VERSION
from protocol.framing import FrameDecoder, encode_frame
from protocol.generate.schema import schema_hash
from protocol.messages import Capability, Hello, HelloAnswer, RecordMessage, parse_message
from protocol.record import Record, parse_record
from tools.bench.paper import PaperDevice
from tools.bench.rounds import alternate, per_call_us
from tools.bench.table import Effort, Goal, Row


class Page:
    """The cheapest durable thing: one page of a file, written and synced."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR)
        self._content = bytes(4096)
        self.commit()

    def commit(self) -> None:
        """Write and sync it."""
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, self._content)
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._file)  # not every system has it

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def commit_rows(effort: Effort) -> list[Row]:
    """One record durable in the agent's database, beside one page written and synced."""
    calls = effort.of(200, 50)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        writer = Writer(Path(folder))
        outbox = Outbox(writer)
        records = iter([(parse_record(raw), raw) for raw in PaperDevice("PJ-0001", "1").write(calls * 12)])
        page = Page(Path(folder) / "page")

        def ours() -> None:
            with writer.transaction() as connection:
                outbox.accept(connection, "PJ-0001", [next(records)], 0)

        mine, bare = alternate(10, lambda: per_call_us(ours, calls), lambda: per_call_us(page.commit, calls))
        page.close()
        writer.close()
    return [Row("commit", "agent: one record durable in the outbox", mine, "µs", bare, "write 4 KB + fdatasync")]


def parse_rows(effort: Effort) -> list[Row]:
    """Bytes of the line to a checked record in an event, beside construct alone on the same record."""
    count = effort.of(500, 200)
    raws = PaperDevice("PJ-0001", "1").write(count)
    line = b"".join(encode_frame(RecordMessage(record=raw).frame()) for raw in raws)

    def ours() -> None:
        now = Instant(0.0, 0)
        conversation = _talking(now)
        received = [event for event in conversation.receive(line, now) if isinstance(event, Received)]
        if len(received) != count:
            raise AssertionError(f"{len(received)} of {count} records came through")

    def floor() -> None:
        for raw in raws:
            Record.STRUCT.parse(raw)

    mine, bare = alternate(effort.of(15, 5), lambda: per_call_us(ours, 1) / count, lambda: per_call_us(floor, 1) / count)
    return [
        Row("parse", "agent: frame → checked record → event", mine, "µs", bare, "construct parses the record", Goal(at_most=2))
    ]


def _talking(now: Instant) -> Conversation:
    """Return a conversation that waits for record 1."""
    conversation = Conversation(1, now)
    (frame,) = FrameDecoder().feed(conversation.take_output())
    hello = parse_message(frame)  # type: ignore[arg-type]  # a frame of our own is no error
    if not isinstance(hello, Hello):
        raise AssertionError("a conversation begins with hello")
    answer = hello_answer(hello.session, "PJ-0001", 1, 1)
    conversation.receive(encode_frame(answer.frame(frame.correlation)), now)  # type: ignore[union-attr]  # the same
    conversation.start(1, now)
    return conversation


def hello_answer(session: int, device: str, next_seq: int, receipt_seq: int) -> HelloAnswer:
    """Return what a device says to a hello."""
    return HelloAnswer(
        version=PROTOCOL_VERSION,
        version_min=PROTOCOL_VERSION,
        version_max=PROTOCOL_VERSION,
        schema_hash=schema_hash(),
        session=session,
        device=device,
        firmware="bench",
        boot=1,
        uptime_ms=1,
        oldest_seq=1,
        next_seq=next_seq,
        receipt_seq=receipt_seq,
        capacity=1000,
        capabilities=Capability(0),
    )
