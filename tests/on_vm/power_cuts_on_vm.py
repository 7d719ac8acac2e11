"""Runs inside the MicroPython VM: the journal through power cuts at random moments.

Arguments: the root of the repository, a seed, how many cuts. Prints `CHECKED records cuts refusals`; whatever is wrong raises.
"""

import random
import sys
from binascii import crc32

sys.path.insert(0, sys.argv[1])
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.identity import Identity
from firmware.evaluator.journal import Journal
from firmware.evaluator.signer import Signer
from simulator.hardware.faulty_flash import FaultyFlash, PowerCut


class CountingIdentity(Identity):
    """Counts journals; that is all the journal wants of it."""

    def __init__(self) -> None:
        self.journals = 0

    def begin_journal(self) -> int:
        """Return the number of a new journal."""
        self.journals += 1
        return self.journals - 1


random.seed(int(sys.argv[2]))
signer = Signer(bytes(range(32)), b"PJ-0001")
identity = CountingIdentity()
flash = FaultyFlash(4, random)  # type: ignore[arg-type]  # MicroPython has the module only
kept: dict[int, bytes] = {}
holes: set[int] = set()
buffer = bytearray(128)
receipt_seq = 1
refused = 0


def learn(journal: Journal, seq: int) -> None:
    """Take over a record that the journal has; it must be good and continue the chain."""
    assert journal.read(seq, buffer), seq
    raw = bytes(buffer)
    last = seq - 1
    while last in holes:
        last -= 1
    assert crc32(raw[:124]) == int.from_bytes(raw[124:], "little")
    assert raw[108:124] == signer.mac(raw[:108])
    assert raw[92:108] == (kept[last][108:124] if last in kept else bytes(16))
    kept[seq] = raw
    kept.pop(seq - 200, None)


def power_on() -> Journal:
    """Start after a cut; nothing that was acknowledged may be missing, nothing may be gone without a receipt."""
    flash.restore()
    journal = Journal(flash, identity, signer)
    journal.recover()
    known = max(max(kept) if kept else 0, max(holes) if holes else 0)
    assert known < journal.next_seq <= known + 3
    for seq in range(known + 1, journal.next_seq):
        if journal.read(seq, buffer):
            learn(journal, seq)
        else:
            holes.add(seq)
    assert journal.oldest_seq <= journal.receipt_seq <= receipt_seq
    for seq in range(journal.oldest_seq, journal.next_seq):
        assert journal.read(seq, buffer) == (seq not in holes), seq
        if seq in kept:
            assert bytes(buffer) == kept[seq], seq
    return journal


journal = power_on()
for _ in range(int(sys.argv[3])):
    flash.cut_after(random.randrange(90))
    try:
        for _ in range(100):
            known = journal.next_seq
            seq = journal.append(wire.KIND_RATING, Clock(0), level=1 + random.randrange(5))
            refused += not seq
            for recorded in range(known, journal.next_seq):
                learn(journal, recorded)
            if random.randrange(4) == 0:
                covered = random.randrange(receipt_seq, journal.next_seq)
                if journal.read(covered, buffer):
                    # noted before the step that cannot be taken back
                    receipt_seq = max(receipt_seq, covered + 1)
                    assert journal.receipt(covered + 1, bytes(buffer[108:124]))
            if random.randrange(3):
                journal.idle()
    except PowerCut:
        pass  # what the test is about
    journal = power_on()
assert identity.journals == 1
sys.stdout.write("CHECKED " + str(journal.next_seq - 1) + " " + sys.argv[3] + " " + str(refused) + "\n")
