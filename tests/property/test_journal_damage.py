"""Flash that is damaged after it was written, from the sector to the collection: named, counted, and no number given twice.

The journal, the device's link and the collector's ingest are the real ones; only the PC between them is missing.
"""

from __future__ import annotations

from random import Random

import pytest
import sqlalchemy as sa

from collector.ingest.core import Ingest, Message
from collector.store import ratings
from collector.store.database import memory_database
from collector.store.ratings import Gap
from collector.store.tables import evidence
from collector.store.tables import records as stored
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.journal import Journal
from firmware.evaluator.signer import Signer
from protocol.messages import Done, Receipt
from protocol.payloads import ReceiptPayload, RecordEvent
from protocol.record import SEQ_SPAN, Kind, LostReason, RecordFlag
from protocol.topics import Up
from simulator.device.in_process import BenchDevice
from simulator.hardware.flash import MemoryFlash
from tests.chains import EPOCH_MS, WINDOW
from tests.device_bench import DEVICE, HALL_KEY, KEY, Host, PaperIdentity

SECTOR = 4096


class Line:
    """One device's flash and identity, and the collection at the other end."""

    def __init__(self, sectors: int) -> None:
        self.flash = MemoryFlash(sectors)
        self.identity = PaperIdentity()
        self.durable: dict[int, bytes] = {}
        self.engine = memory_database()
        self._ingest = Ingest(self.engine, {f"{WINDOW.area}/{WINDOW.hall}": HALL_KEY})
        self._now_ms = EPOCH_MS

    def start(self) -> Journal:
        journal = Journal(self.flash, self.identity, Signer(KEY, DEVICE.encode()))
        journal.recover()
        return journal

    def write(self, count: int) -> None:
        """Start, and write ratings as far as there is room."""
        journal = self.start()
        buffer = bytearray(128)
        for n in range(count):
            seq = journal.append(wire.KIND_RATING, Clock(0), level=1 + n % 5)
            for number in (seq - 1, seq):
                if seq and number not in self.durable and journal.read(number, buffer):
                    self.durable[number] = bytes(buffer)
            journal.idle()

    def deliver(self, receipts: bool = True) -> Host:
        """Start the whole device, take what it has into the collection, hand it the receipts; twice, for what it says to them."""
        device = BenchDevice(self.identity, self.flash)
        host = Host(device).join()
        for _ in range(2):
            host.listen(1200)
            self._now_ms += 1000
            messages = []
            for record in host.records:
                raw = host.raw[record.seq]
                self.durable.setdefault(record.seq, raw)
                event = RecordEvent.of(WINDOW.path, DEVICE, record, raw, EPOCH_MS, None, historical=False)
                messages.append(Message(WINDOW.up(Up.RECORD), event.to_json()))
            taken = self._ingest.take(messages, self._now_ms)
            for message in taken.publish if receipts else ():
                payload = ReceiptPayload.from_json(message.payload)
                mac, issued = bytes.fromhex(payload.mac), payload.issued_ms
                host.ask(
                    Receipt(next_seq=payload.next_seq, record_mac=bytes.fromhex(payload.record_mac), issued_ms=issued, mac=mac),
                    Done,
                )
        return host

    def collected(self) -> dict[int, bytes]:
        with self.engine.connect() as connection:
            return dict(connection.execute(sa.select(stored.c.seq, stored.c.raw)).all())

    def evidence(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(evidence.c.kind)).scalars())

    def gaps(self) -> list[Gap]:
        with self.engine.connect() as connection:
            return ratings.gaps(connection)


def spoil(flash: MemoryFlash, sector: int, how: str, random: Random) -> None:
    """Damage a sector: all of it by noise, zeros or an erase; or its header page; or its marks."""
    begin = sector * SECTOR
    count = {"header page": 256, "marks": 192, "header": 44}.get(how, SECTOR)
    begin += 64 if how == "marks" else 0
    if how == "zeros":
        flash.content[begin : begin + count] = bytes(count)
    elif how == "blank":
        flash.content[begin : begin + count] = b"\xff" * count
    else:
        flash.content[begin : begin + count] = random.randbytes(count)


HOWS = ("noise", "zeros", "blank", "header page", "header", "marks")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("sectors", [(0,), (1,), (3,), (2, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("before", ["nothing was collected", "all was collected"])
def test_what_flash_loses_is_named_and_no_number_comes_twice(how: str, sectors: tuple[int, ...], before: str) -> None:
    line = Line(6)
    line.write(105)  # sectors 0 to 2 are full, 3 is being written
    if before == "all was collected":
        line.deliver(receipts=False)
    next_before = line.start().next_seq
    for sector in sectors:
        spoil(line.flash, sector, how, Random(7))
    damaged = [seq for seq, raw in line.durable.items() if not raw_is_held(line.flash, raw)]
    assert bool(damaged) == (how in HOWS[:3])
    line.write(10)
    host = line.deliver()
    assert line.evidence() == []
    assert line.identity.journals == 1
    collected = line.collected()
    assert {seq: raw for seq, raw in line.durable.items() if seq in collected} == collected
    missing = set(line.durable) - set(collected)
    assert missing == (set(damaged) if before == "nothing was collected" else set())
    named = {seq for r in host.of(Kind.LOST) for seq in range(r.refers_to, r.refers_to + r.value)}
    assert missing <= named
    assert all(r.detail == LostReason.DAMAGED for r in host.of(Kind.LOST))
    assert line.gaps() == [], "whatever is missing has been accounted for, so the receipts go on"
    journal = host.device.device.journal
    assert journal.receipt_seq == journal.next_seq > next_before


def raw_is_held(flash: MemoryFlash, raw: bytes) -> bool:
    return raw in bytes(flash.content)


@pytest.mark.parametrize("how", ["noise", "zeros"])
def test_a_journal_that_is_gone_altogether_begins_anew_and_says_so(how: str) -> None:
    line = Line(4)
    line.write(40)
    line.deliver()
    line.write(20)
    for sector in range(4):
        spoil(line.flash, sector, how, Random(7))
    line.write(3)
    host = line.deliver()
    first = host.records[0]
    assert (first.kind, first.seq, first.flags & RecordFlag.NEW_JOURNAL) == (Kind.BOOT, SEQ_SPAN + 1, RecordFlag.NEW_JOURNAL)
    assert first.value == 4, "sectors that held something"
    assert line.evidence() == []
    (gap,) = line.gaps()
    assert (gap.kind, gap.last_seq) == ("end", None), "nobody can say how many there were, and that is said"
    journal = host.device.device.journal
    assert journal.receipt_seq == journal.next_seq


@pytest.mark.parametrize("part", range(4))
def test_any_damage_at_any_time(part: int, pytestconfig: pytest.Config) -> None:
    """Two rounds of damage to any sectors: nothing is forged, doubled, contradicted or left without an account."""
    for seed in range(part, 400 if pytestconfig.getoption("--long") else 24, 4):
        random = Random(seed)
        line = Line(random.randrange(3, 7))
        for _ in range(2):
            line.write(random.randrange(150))
            if random.randrange(2):
                line.deliver(receipts=bool(random.randrange(2)))
            line.write(random.randrange(30))
            for sector in random.sample(range(line.flash.sectors), random.randrange(line.flash.sectors)):
                spoil(line.flash, sector, random.choice(HOWS), random)
            line.write(random.randrange(1, 20))
            line.deliver()
        journal = line.deliver().device.device.journal
        collected = line.collected()
        assert line.evidence() == [], seed
        assert all(line.durable[seq] == raw for seq, raw in collected.items()), seed
        assert [gap for gap in line.gaps() if gap.kind != "end"] == [], seed
        assert journal.receipt_seq == journal.next_seq, seed


def test_what_was_collected_and_reads_as_blank_leaves_no_number_to_be_given_again() -> None:
    line = Line(3)
    line.write(20)
    line.deliver()
    collected = max(line.collected())
    line.flash.content[256 + 128 * 8 : SECTOR] = b"\xff" * (SECTOR - 256 - 128 * 8)
    line.write(20)
    host = line.deliver()
    assert line.evidence() == []
    assert {seq: line.durable[seq] for seq in line.collected()} == line.collected()
    assert line.gaps() == []
    named = [seq for r in host.of(Kind.LOST) for seq in range(r.refers_to, r.refers_to + r.value)]
    assert named == list(range(9, collected + 31)), "and as many as may have come after what was collected"
