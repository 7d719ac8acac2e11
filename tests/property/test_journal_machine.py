"""The journal against a plain list, with the power cut at any flash operation and in the middle of one."""

from __future__ import annotations

import hmac
import zlib
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.journal import RESERVED, Journal
from firmware.evaluator.signer import Signer
from protocol.record import Kind
from simulator.hardware.faulty_flash import FaultyFlash, PowerCut
from tests.device_bench import DEVICE, KEY, PaperIdentity

# a record's fields, without the cost of parsing them a hundred thousand times
MAC = slice(108, 124)
PREV_MAC = slice(92, 108)
BOOT = 8


def number(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


class JournalMachine(RuleBasedStateMachine):
    """What the model knows: every record whose append returned, what a receipt covers, and how many slots are wasted."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[int, bytes] = {}
        self.receipt_seq = 1
        self.holes: set[int] = set()
        self.wasted = 0
        self.highest_boot = 0

    @initialize(sectors=st.integers(2, 5), seed=st.integers(0, 1 << 32))
    def begin(self, sectors: int, seed: int) -> None:
        self.identity = PaperIdentity()
        self.flash = FaultyFlash(sectors, Random(seed))
        self.power_on()

    def power_on(self) -> None:
        """Start; what was being written when the power went may be there, whole, or not at all."""
        self.flash.restore()
        self.journal = journal = Journal(self.flash, self.identity, Signer(KEY, DEVICE.encode()))
        journal.recover()
        self.clock = Clock(0)
        self.fresh = True
        self.wasted += 1
        known = self.known()
        assert known < journal.next_seq <= known + 3
        for seq in range(known + 1, journal.next_seq):
            if journal.read(seq, bytearray(128)):
                self.learn(seq)
            else:
                self.holes.add(seq)  # nobody was thanked for it, but its number is used up
                assert journal.was_cut_short(seq)
        assert journal.oldest_seq <= self.receipt_seq
        assert journal.oldest_seq <= journal.receipt_seq <= self.receipt_seq
        assert self.identity.journals == 1

    def known(self) -> int:
        """Return the highest number that was ever used."""
        return max(max(self.records, default=0), max(self.holes, default=0))

    def learn(self, seq: int) -> None:
        """Take record `seq` as the flash holds it; it must be a good one and continue the chain."""
        buffer = bytearray(128)
        assert self.journal.read(seq, buffer)
        raw = bytes(buffer)
        assert raw[MAC] == hmac.digest(KEY, raw[:108], "sha256")[:16]
        assert zlib.crc32(raw[:124]) == number(raw, 124)
        assert number(raw, 4) == seq
        last = seq - 1
        while last in self.holes:
            last -= 1
        before = self.records.get(last)
        if before:
            assert raw[PREV_MAC] == before[MAC]
            assert (number(raw, BOOT) > number(before, BOOT)) == (raw[2] == Kind.BOOT)
        else:
            assert (raw[PREV_MAC], last) == (bytes(16), 0)
        self.records[seq] = raw

    def append(self, value: int) -> bool:
        journal = self.journal
        expected = journal.next_seq
        seq = journal.append(wire.KIND_RATING, self.clock, level=1 + value % 5, value=value)
        if seq:
            assert seq == expected + self.fresh
            self.fresh = False
            for known in range(expected, seq + 1):
                self.learn(known)
        else:
            assert journal.next_seq == expected, "a boot record without the record for which it was written"
            assert not journal.free() or (self.fresh and journal.free() == 1)
            unreceipted = journal.next_seq - journal.receipt_seq
            assert unreceipted + self.wasted + RESERVED + 1 > 30 * (self.flash.sectors - 2), "refused although there was room"
        return bool(seq)

    @rule(count=st.integers(1, 45), value=st.integers(0, 1 << 31), idling=st.booleans())
    def press(self, count: int, value: int, idling: bool) -> None:
        for _ in range(count):
            self.append(value)
            if idling:
                self.journal.idle()

    @rule()
    def fill(self) -> None:
        for _ in range(30 * self.flash.sectors + 1):
            if not self.append(9):
                return

    @rule(count=st.integers(1, 6))
    def idle(self, count: int) -> None:
        for _ in range(count):
            self.journal.idle()

    @precondition(lambda self: self.records)
    @rule(part=st.floats(0, 1), times=st.integers(1, 30))
    def receipts(self, part: float, times: int) -> None:
        """A collector signs for more and more of it; also for each record by itself, which uses up the marks."""
        most = self.receipt_seq + int(part * (self.journal.next_seq - self.receipt_seq))
        for next_seq in range(max(self.receipt_seq + 1, most - times), most + 1):
            if next_seq - 1 in self.holes:
                continue
            mac = self.records[next_seq - 1][MAC]
            assert not self.journal.receipt(next_seq, bytes(16)) or next_seq <= self.journal.receipt_seq
            assert self.journal.receipt(next_seq, mac)
            self.receipt_seq = max(self.receipt_seq, next_seq)
            self.journal.idle()

    @rule()
    def reboot(self) -> None:
        self.power_on()

    @rule(after=st.integers(0, 40), count=st.integers(1, 45), idling=st.booleans())
    def power_cut(self, after: int, count: int, idling: bool) -> None:
        self.flash.cut_after(after)
        try:
            for value in range(count):
                self.append(value)
                if idling:
                    self.journal.idle()
        except PowerCut:
            self.wasted += 1
        self.power_on()

    @precondition(lambda self: self.records)
    @rule(after=st.integers(0, 6))
    def power_cut_while_recycling(self, after: int) -> None:
        """Receipts for everything, then the power goes while sectors are noted, retired, erased and opened."""
        next_seq = max(self.records) + 1
        self.receipt_seq = max(self.receipt_seq, next_seq)
        assert self.journal.receipt(next_seq, self.records[next_seq - 1][MAC])
        self.flash.cut_after(after)
        try:
            for value in range(31):
                self.journal.idle()
                self.append(value)
        except PowerCut:
            self.wasted += 1
        self.power_on()

    @invariant()
    def everything_held_is_as_it_was_written(self) -> None:
        if not hasattr(self, "journal"):
            return
        journal = self.journal
        assert journal.oldest_seq <= journal.receipt_seq <= journal.next_seq
        assert journal.oldest_seq <= self.receipt_seq, "something without a receipt is gone"
        assert journal.next_seq == self.known() + 1
        buffer = bytearray(128)
        for seq in range(journal.oldest_seq, journal.next_seq):
            assert journal.read(seq, buffer) == (seq not in self.holes), f"record {seq} is lost, or came back"
            assert seq in self.holes or buffer == self.records[seq]
        assert not journal.read(journal.next_seq, buffer)
        assert not journal.read(journal.oldest_seq - 1, buffer)
        assert 0 <= journal.free() <= journal.capacity() == 30 * self.flash.sectors


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=50, stateful_step_count=20, deadline=None, phases=(Phase.explicit, Phase.generate, Phase.shrink)
)
