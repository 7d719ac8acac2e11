# modules of the board and of MicroPython, which the checks of CPython do not know
# mypy: ignore-errors
"""Runs inside the MicroPython VM: the power cut in every block operation of a board whose journal lives in a littlefs.

Arguments: the root of the repository, the stride. From the first start on, which makes the sectors as files, through ratings,
receipts and a busy file system: before each operation it is carried out in part on a copy of the flash, in several shapes; that copy
is mounted, searched for sectors and compared. Prints `SWEPT operations cuts`; whatever is wrong raises.
"""

import gc
import json
import os
import random
import sys

import vfs

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[1] + "/tests/on_vm")
from ram_flash import BLOCK, RamFlash

from firmware.boards.littlefs_sectors import open_sectors
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.identity import Identity
from firmware.evaluator.journal import Journal
from firmware.evaluator.signer import Signer

BLOCKS = 24
COUNT = 3
STRIDE = int(sys.argv[2])
SHAPES = ("none", "one", "half", "all but one", "some bits")
random.seed(1)
signer = Signer(bytes(32), b"PJ-0001")
clock = Clock(0)


def partly(before: bytes, after: memoryview, shape: str) -> None:
    """Take back a part of what an operation has changed in `after`."""
    changed = [n for n in range(len(before)) if before[n] != after[n]]
    done = {"none": 0, "one": 1, "half": len(changed) // 2, "all but one": max(0, len(changed) - 1)}.get(shape)
    if done is None:
        for n in changed:
            after[n] ^= (before[n] ^ after[n]) & random.randrange(256)
    else:
        for n in changed[done:]:
            after[n] = before[n]


class WatchedFlash(RamFlash):
    """Tries every way in which an operation can be cut short before it is carried out."""

    operations = 0
    cuts = 0
    watched = False

    def writeblocks(self, block, buf, offset=-1):
        """Program."""
        self._try(block, lambda flash: RamFlash.writeblocks(flash, block, buf, offset))
        RamFlash.writeblocks(self, block, buf, offset)

    def ioctl(self, op, arg):
        """Erase, or answer."""
        if op == 6:
            self._try(arg, lambda flash: RamFlash.ioctl(flash, op, arg))
        return RamFlash.ioctl(self, op, arg)

    def _try(self, block, operation) -> None:
        if not self.watched:
            return
        self.operations += 1
        if self.operations % STRIDE:
            return
        for shape in SHAPES:
            memoryview(copy)[:] = memoryview(self)
            begin = block * BLOCK
            before = bytes(copy[begin : begin + BLOCK])
            operation(copy)
            partly(before, memoryview(copy)[begin : begin + BLOCK], shape)
            self.cuts += 1
            check("operation " + str(self.operations) + ", " + shape)


flash = WatchedFlash(b"\xff" * (BLOCKS * BLOCK))
copy = RamFlash(BLOCKS * BLOCK)
kept = {}
receipt_seq = 1


def started(device, root):
    """Start as a board does; return its journal."""
    identity = Identity(root + "identity.json")
    journal = Journal(open_sectors(device, memoryview(device), root, COUNT), identity, signer)
    journal.recover()
    return journal


def check(where: str) -> None:
    """Start on the copy after a cut: everything must be there, and go on."""
    vfs.mount(vfs.VfsLfs2(copy, progsize=256), "/cut")
    try:
        journal = started(copy, "/cut/")
        buffer = bytearray(128)
        if kept:
            known = max(kept)
            assert known < journal.next_seq <= known + 3, where
            assert journal.oldest_seq <= journal.receipt_seq <= receipt_seq, where
            for seq in range(journal.oldest_seq, known + 1):
                assert journal.read(seq, buffer), where + ": record " + str(seq) + " is lost"
                assert bytes(buffer) == kept[seq], where
        with open("/cut/churn", "wb") as file:
            file.write(bytes(5000))
        last = journal.append(wire.KIND_RATING, clock, 3)
        assert last or not journal.free(), where
        journal.idle()
        again = started(copy, "/cut/")
        assert not last or again.read(last, buffer), where
        for seq in range(again.oldest_seq, max(kept) + 1 if kept else 0):
            assert again.read(seq, buffer), where
            assert bytes(buffer) == kept[seq], where
    finally:
        vfs.umount("/cut")
    gc.collect()


vfs.VfsLfs2.mkfs(flash, progsize=256)
vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/ram")
with open("/ram/identity.json", "w") as file:
    json.dump({"device": "PJ-0001", "key": "00" * 32, "journals": 0}, file)
flash.watched = True
journal = started(flash, "/ram/")
raw = bytearray(128)
for turn in range(5):
    for n in range(19):
        expected = journal.next_seq
        seq = journal.append(wire.KIND_RATING, clock, 1 + n % 5)
        for number in range(expected, journal.next_seq):
            assert journal.read(number, raw)
            kept[number] = bytes(raw)
        journal.idle()
        if seq > 12:
            receipt_seq = seq - 10
            assert journal.receipt(receipt_seq, kept[receipt_seq - 1][108:124])
    with open("/ram/config.new", "wb") as file:
        file.write(bytes([turn]) * (300 + 1500 * turn))
    os.rename("/ram/config.new", "/ram/config")
    if turn % 2:
        journal = started(flash, "/ram/")
sys.stdout.write("SWEPT " + str(flash.operations) + " " + str(flash.cuts) + "\n")
