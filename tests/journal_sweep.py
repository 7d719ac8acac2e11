"""A scripted life of a journal, and the power cut in every one of its flash operations, in every shape.

Runs on CPython and in the MicroPython VM. A cut destroys everything but the flash; so it is enough to live the life once and,
before each operation, to carry it out half on a copy of the flash, to start from that, and to compare with the plain
model: the records whose append had returned, and the receipts that had been given.
"""

from binascii import crc32

from firmware.evaluator import wire
from firmware.evaluator.clock import Clock
from firmware.evaluator.identity import Identity
from firmware.evaluator.journal import Journal
from firmware.evaluator.signer import Signer
from simulator.hardware.faulty_flash import SHAPES, FaultyFlash, PowerCut
from simulator.hardware.flash import MemoryFlash

try:  # noqa: SIM105  # MicroPython has no contextlib
    from random import Random
except ImportError:
    pass  # MicroPython has only the module, which does as well; there annotations are never evaluated

SECTORS = 3
# appends, whether idle after each, receipt for all but so many of the records (-1: none), restart afterwards
LIFE = ((3, 1, -1, 1), (24, 1, 2, 0), (14, 0, 5, 1), (40, 1, -1, 0), (2, 1, 3, 1), (1, 1, 0, 1), (36, 0, 12, 0), (30, 1, 0, 1))


class CountingIdentity(Identity):
    """Counts journals; that is all the journal wants of it."""

    def __init__(self) -> None:
        self.journals = 0

    def begin_journal(self) -> int:
        """Return the number of a new journal."""
        self.journals += 1
        return self.journals - 1


class Model:
    """What must be there."""

    def __init__(self) -> None:
        self.records: dict[int, bytes] = {}
        self.last = 0
        self.receipt_seq = 1

    def copy(self) -> "Model":
        """Return a model that goes its own way."""
        other = Model()
        other.records, other.last, other.receipt_seq = dict(self.records), self.last, self.receipt_seq
        return other

    def learn(self, journal: Journal, last: int) -> None:
        """Take over what an append that has returned made durable."""
        buffer = bytearray(wire.RECORD_BYTES)
        for seq in range(self.last + 1, last + 1):
            if journal.read(seq, buffer):
                self.records[seq] = bytes(buffer)
        self.last = last


class WatchedFlash(MemoryFlash):
    """Flash that tells somebody before each operation."""

    def __init__(self, sectors: int, sweep: "Sweep") -> None:
        super().__init__(sectors)
        self._sweep = sweep

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Program, after every way in which that can be cut short."""
        self._sweep.before(self, lambda copy: copy.program(sector, at, page))
        super().program(sector, at, page)

    def erase(self, sector: int) -> None:
        """Erase, after every way in which that can be cut short."""
        self._sweep.before(self, lambda copy: copy.erase(sector))
        super().erase(sector)


class Sweep:
    """One life; every `stride`-th operation is cut, beginning with number `begin`; `doubles` cuts once more in what follows."""

    def __init__(self, random: "Random", stride: int = 1, begin: int = 0, doubles: bool = False) -> None:
        self._random = random
        self._stride = stride
        self._begin = begin
        self._doubles = doubles
        self._signer = Signer(bytes(range(32)), b"PJ-0001")
        self._identity = CountingIdentity()
        self._model = Model()
        self.operations = 0
        self.cuts = 0
        self.torn = 0
        """Cuts after which a number was passed over."""

    def live(self) -> None:
        """Live the life of `LIFE`."""
        flash = WatchedFlash(SECTORS, self)
        journal = self._start(flash, self._identity)
        for appends, idles, behind, restart in LIFE:
            for n in range(appends):
                self._append(journal, self._model, n)
                if idles:
                    journal.idle()
            if behind >= 0:
                self._collect(journal, self._model, journal.next_seq - behind)
                journal.idle()
                journal.idle()
            if restart:
                journal = self._start(flash, self._identity)

    def before(self, flash: MemoryFlash, operation) -> None:  # type: ignore[no-untyped-def]  # MicroPython has no Callable to name
        """Try every way in which this operation can be cut short."""
        self.operations += 1
        if (self.operations - self._begin) % self._stride:
            return
        for shape in SHAPES:
            copy = FaultyFlash(SECTORS, self._random)
            copy.content[:] = flash.content
            copy.cut_after(0, shape)
            try:
                operation(copy)
            except PowerCut:
                copy.restore()
            self.cuts += 1
            model = self._model.copy()
            if self._doubles and model.records:
                self._cut_again(copy, model)
            self._check(copy, model, shape)

    def _start(self, flash: MemoryFlash, identity: Identity) -> Journal:
        journal = Journal(flash, identity, self._signer)
        journal.recover()
        return journal

    def _append(self, journal: Journal, model: Model, value: int) -> bool:
        seq = journal.append(wire.KIND_RATING, Clock(0), level=1 + value % 5, value=self._random.randrange(1 << 30))
        if seq:
            model.learn(journal, seq)
        return bool(seq)

    def _collect(self, journal: Journal, model: Model, next_seq: int) -> None:
        while next_seq > model.receipt_seq and next_seq - 1 not in model.records:
            next_seq -= 1
        if next_seq > model.receipt_seq:
            model.receipt_seq = next_seq  # noted before the step that cannot be taken back
            assert journal.receipt(next_seq, model.records[next_seq - 1][108:124])

    def _cut_again(self, flash: FaultyFlash, model: Model) -> None:
        """Start, and lose power in one of the first operations."""
        flash.cut_after(self._random.randrange(5))
        identity = CountingIdentity()
        identity.journals = self._identity.journals
        try:
            journal = self._start(flash, identity)
            model.last = journal.next_seq - 1
            self._keep(journal, model)
            for n in range(4):
                self._append(journal, model, n)
                journal.idle()
        except PowerCut:
            pass  # what this is about
        flash.restore()

    def _keep(self, journal: Journal, model: Model) -> None:
        buffer = bytearray(wire.RECORD_BYTES)
        for seq in range(journal.oldest_seq, journal.next_seq):
            if seq not in model.records and journal.read(seq, buffer):
                model.records[seq] = bytes(buffer)

    def _check(self, flash: FaultyFlash, model: Model, shape: str) -> None:
        """Start after a cut, compare with the model, fill the journal, start again, empty it, go on."""
        identity = CountingIdentity()
        identity.journals = self._identity.journals
        journal = self._start(flash, identity)
        where = "operation " + str(self.operations) + " cut, " + shape
        # a journal whose very first header was cut short had nothing in it, and is begun again
        assert identity.journals <= max(1, self._identity.journals) + (not model.records), where
        if identity.journals > 1 and not model.records:
            return
        assert model.last < journal.next_seq <= model.last + 3, where + ": wrong number"
        assert journal.oldest_seq <= journal.receipt_seq <= model.receipt_seq, where + ": receipt"
        first = self._read_all(journal, model, where)
        if journal.next_seq - 1 > len(first) + journal.oldest_seq - 1:
            self.torn += 1
        free = journal.free()
        written = 0
        while self._append(journal, model, written):
            written += 1
            journal.idle()
        assert written == max(0, free - 1), where + ": free said otherwise"  # the boot record takes one
        then = self._read_all(journal, model, where)
        for seq in first:
            assert then.get(seq, first[seq]) == first[seq], where + ": changed"
        again = self._start(flash, identity)
        assert again.next_seq == journal.next_seq, where + ": number after the next start"
        assert self._read_all(again, model, where) == then, where + ": changed by a start"
        self._collect(again, model, again.next_seq)
        for n in range(35):
            again.idle()
            assert self._append(again, model, n), where + ": no room after a receipt for everything"
        self._read_all(again, model, where)

    def _read_all(self, journal: Journal, model: Model, where: str) -> "dict[int, bytes]":
        """Return every record; each must be the one that was written, or be good and new; the chain must be whole."""
        found: dict[int, bytes] = {}
        buffer = bytearray(wire.RECORD_BYTES)
        mac = b""
        for seq in range(journal.oldest_seq, journal.next_seq):
            if not journal.read(seq, buffer):
                assert seq not in model.records, where + ": record " + str(seq) + " is lost"
                continue
            raw = bytes(buffer)
            if seq in model.records:
                assert raw == model.records[seq], where + ": record " + str(seq) + " is another one"
            else:
                assert raw[108:124] == self._signer.mac(raw[: wire.SIGNED_BYTES]), where
                assert crc32(raw[:124]) == int.from_bytes(raw[124:], "little"), where
                assert seq > max(model.records) if model.records else True, where + ": an old number came back"
            assert not mac or raw[92:108] == mac, where + ": chain broken at " + str(seq)
            mac = raw[108:124]
            found[seq] = raw
        return found
