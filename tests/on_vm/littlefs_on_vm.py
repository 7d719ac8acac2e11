# modules of the board and of MicroPython, which the checks of CPython do not know
# mypy: ignore-errors
"""Runs inside the MicroPython VM: journal sectors as files of a real littlefs, used raw, beside a busy file system.

Arguments: the root of the repository. Prints `OK NAME` per check; whatever is wrong raises.
"""

import os
import sys
from hashlib import sha256

import vfs

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[1] + "/tests/on_vm")
from ram_flash import BLOCK, RamFlash

from firmware.boards.littlefs_sectors import SectorsLost, open_sectors
from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.journal import Journal
from firmware.evaluator.signer import Signer

BLOCKS = 96
COUNT = 8
ROOT = "/ram/"
KEY = bytes(32)


class CountingIdentity:
    """Counts journals; that is all the journal wants of it."""

    journals = 0

    def begin_journal(self) -> int:
        """Return the number of a new journal."""
        self.journals += 1
        return self.journals - 1


def ok(name: str) -> None:
    """Report a check that passed."""
    sys.stdout.write("OK " + name + "\n")


def fresh(flash: RamFlash) -> RamFlash:
    """Erase, format and mount a flash."""
    for block in range(BLOCKS):
        flash.ioctl(6, block)
    vfs.VfsLfs2.mkfs(flash, progsize=256)
    mount(flash)
    return flash


def mount(flash: RamFlash) -> None:
    """Mount as at power-on."""
    if "ram" in os.listdir("/"):
        try:  # noqa: SIM105  # MicroPython has no contextlib
            vfs.umount("/ram")
        except OSError:
            pass  # nothing is mounted yet
    vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/ram")


def opened(flash: RamFlash) -> object:
    """Find the sectors, as a board does at start."""
    return open_sectors(flash, memoryview(flash), ROOT, COUNT)


def lost(flash: RamFlash, name: str) -> None:
    """Check that the sectors are refused, and that looking has written nothing."""
    before = sha256(flash).digest()
    try:
        opened(flash)
    except SectorsLost as error:
        assert sha256(flash).digest() == before, name + ": something was written"
        ok(name + ": " + str(error))
        return
    raise AssertionError(name + ": not noticed")


def file_of(sector: int) -> str:
    """Return the path of a sector's file."""
    return ROOT + f".j{sector:02d}"


flash = fresh(RamFlash(BLOCKS * BLOCK))
sectors = opened(flash)
assert sectors.sectors == COUNT
identity = CountingIdentity()
journal = Journal(sectors, identity, Signer(KEY, b"PJ-0001"))
journal.recover()
buffer = bytearray(128)
kept = {}


def write(count: int) -> None:
    """Write records, have all but the last hundred collected, and keep what must be there."""
    for n in range(count):
        seq = journal.append(wire.KIND_RATING, Clock(0), level=1 + n % 5)
        assert seq
        assert journal.read(seq, buffer)
        kept[seq] = bytes(buffer)
        if seq > 100:
            assert journal.read(seq - 100, buffer)
            assert journal.receipt(seq - 99, bytes(buffer[108:124]))
        journal.idle()


def churn(rounds: int, seed: int) -> None:
    """Write, replace and delete files of the file system."""
    for n in range(rounds):
        name = ROOT + "f" + str((n * 7 + seed) % 5)
        content = bytes([(n + seed) & 255]) * (500 + (n * 977 + seed) % 9000)
        with open(name + ".new", "wb") as file:
            file.write(content)
        os.rename(name + ".new", name)
        with open(name, "rb") as file:
            assert file.read() == content
        if n % 3 == 0:
            os.remove(name)


def check() -> None:
    """Compare every record that the journal holds."""
    assert journal.next_seq - journal.oldest_seq >= 100
    for seq in range(max(journal.oldest_seq, min(kept)), journal.next_seq):
        if seq in kept:
            assert journal.read(seq, buffer)
            assert bytes(buffer) == kept[seq], seq


for turn in range(6):
    write(100)
    churn(25, turn)
    check()
ok("records and files are both intact after churn")
mount(flash)
sectors = opened(flash)
journal = Journal(sectors, identity, Signer(KEY, b"PJ-0001"))
journal.recover()
check()
write(100)
churn(25, 9)
check()
assert identity.journals == 1
ok("everything is found again at the next start")

# power goes between an erase and the tag: once on a blank sector, once after half an erase
blocks = sectors._blocks
for _ in range(3):
    journal.idle()
assert journal._spare >= 0
for half in (0, 3000):
    spare = blocks[journal._spare]
    noise = bytes(flash[spare * BLOCK + BLOCK - half : spare * BLOCK + BLOCK]) if half else b""
    flash.ioctl(6, spare)
    if half:
        memoryview(flash)[(spare + 1) * BLOCK - half : (spare + 1) * BLOCK] = noise
    mount(flash)
    opened(flash)
    check()
ok("a sector without a tag gets it again")

good = bytes(flash)


def restored() -> None:
    """Bring the intact flash back."""
    memoryview(flash)[:] = good
    mount(flash)


os.remove(file_of(3))
lost(flash, "a missing file")
restored()
with open(file_of(3), "rb") as file:
    content = file.read()
with open(ROOT + "copy", "wb") as file:  # made beside the original, or it might be given the very same block
    file.write(content)
os.remove(file_of(3))
os.rename(ROOT + "copy", file_of(3))
lost(flash, "a copied file")
restored()
with open(file_of(3), "ab") as file:
    file.write(b"x")
lost(flash, "a longer file")
restored()
with open(ROOT + "other", "wb") as file:
    file.write(b"\xff" * BLOCK)
os.remove(file_of(3))
os.rename(ROOT + "other", file_of(3))
lost(flash, "a file that was written again")
restored()
with open(ROOT + ".jmap", "w") as file:
    file.write("{")
lost(flash, "a map that cannot be read")
restored()
os.remove(ROOT + ".jmap")
lost(flash, "a map that is gone, above records")
restored()
opened(flash)

fresh(flash)
with open(file_of(0), "wb") as file:
    file.write(b"\xff" * BLOCK)
opened(flash)
ok("a first start that was cut short begins again")
