"""The collector: from the broker into the database, and the part of it after the socket.

`ingest`: the collector, and a bare paho subscriber that only counts, are each stopped (SIGSTOP) while the broker fills up with the
same messages, then let go: neither has to share the machine with a publisher. `store`: the same messages in batches through
`Ingest.take`, beside `executemany` of as many ready rows into a table of the same columns and indexes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import sqlalchemy as sa

from collector.ingest.core import Ingest, Message
from collector.store.database import Database, Store
from collector.store.postgresql import PostgresDatabase
from collector.store.tables import records
from protocol.payloads import ReceiptPayload
from protocol.topics import Down, Up, all_up
from simulator.postgresql import programs, running_cluster
from simulator.services import HOST, ROOT
from tools.bench.paper import EPOCH_MS, HALL, HALL_KEY, PaperDevice
from tools.bench.stage import Stage, program
from tools.bench.subscriber import Subscriber
from tools.bench.table import Effort, Goal, Row, Skipped

DEVICES = 10
BATCH = 1000
RECORD_TOPIC = all_up(Up.RECORD)


class _Hall:
    """Devices that write in turn, each at its window."""

    def __init__(self) -> None:
        self.devices = [PaperDevice(f"PJ-{number:04d}", str(number)) for number in range(1, DEVICES + 1)]

    def messages(self, count: int) -> list[Message]:
        """Return so many record messages, the devices in turn."""
        written = []
        for _ in range(count // DEVICES):
            written += [Message(device.topic, device.payload(*device.write(1))) for device in self.devices]
        return written


def ingest_rows(effort: Effort) -> list[Row]:
    """Broker → verified, durable, acknowledged, receipted; beside broker → counted."""
    count = effort.of(20_000, 4_000)
    hall = _Hall()
    mine, bare = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Stage(Path(name)) as stage:
        stage.start_broker()
        collector = psutil.Process(stage.start_collector().pid)
        receipts = _Receipts(stage.port, hall)
        for _ in range(effort.of(5, 2)):
            files = list(_files(stage.folder, hall, hall.messages(count)))
            with _Counter(stage.port, count) as floor:
                collector.suspend()
                floor.process.suspend()
                for topic, file in files:
                    _publish(stage.port, topic, file)
                bare.append(count / _let_go(floor.process, lambda floor=floor: floor.await_line("done")))  # type: ignore[misc]  # a bound default
                mine.append(count / _let_go(collector, receipts.await_all))
        receipts.close()
    what = "collector: ingest from the broker, verified, committed before the ack"
    least = "bare paho counts the messages"
    return [Row("ingest", what, statistics.median(mine), "/s", statistics.median(bare), least, Goal(at_least=0.7))]


def _files(folder: Path, hall: _Hall, messages: list[Message]) -> Iterator[tuple[str, Path]]:
    """Yield a file of payloads, one a line, for each device."""
    for device in hall.devices:
        file = folder / f"{device.name}.lines"
        file.write_bytes(b"\n".join(message.payload for message in messages if message.topic == device.topic) + b"\n")
        yield device.topic, file


def _publish(port: int, topic: str, file: Path) -> None:
    command = [program("mosquitto_pub"), "-h", HOST, "-p", str(port), "-q", "1", "-t", topic, "-l"]
    with file.open("rb") as lines:
        subprocess.run(command, stdin=lines, check=True, timeout=120)


def _let_go(process: psutil.Process, wait: Callable[[], None]) -> float:
    """Continue a process that was stopped; return how long it then took."""
    began_s = time.monotonic()
    process.resume()
    wait()
    return time.monotonic() - began_s


class _Counter:
    """The floor's process."""

    def __init__(self, port: int, count: int) -> None:
        command = [sys.executable, "-m", "tools.bench.floor_client", "count", str(port), RECORD_TOPIC, str(count)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.process = psutil.Process(self._process.pid)
        self.await_line("ready -")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def await_line(self, wanted: str) -> None:
        """Wait until it says so."""
        assert self._process.stdout is not None  # noqa: S101  # it was asked for
        said = self._process.stdout.readline().strip()
        if said != wanted:
            raise RuntimeError(f"the counter says {said!r} instead of {wanted!r}")


class _Receipts:
    """Hears the collector's receipts, as an agent would."""

    def __init__(self, port: int, hall: _Hall) -> None:
        self._hall = hall
        self._came = threading.Condition()
        self._next_seq: dict[str, int] = {}
        topic = hall.devices[0].window.down(Down.RECEIPT).split("/")
        topic[4] = "+"
        self._subscriber = Subscriber(port, "/".join(topic), self._heard)

    def await_all(self) -> None:
        """Wait until every device has its receipt for all that it has written."""
        wanted = {device.name: device.next_seq for device in self._hall.devices}
        with self._came:
            if not self._came.wait_for(lambda: self._next_seq == wanted, timeout=120):
                raise TimeoutError(f"receipts {self._next_seq}")

    def close(self) -> None:
        self._subscriber.close()

    def _heard(self, _topic: str, payload: bytes, _at_s: float) -> None:
        receipt = ReceiptPayload.from_json(payload)
        with self._came:
            self._next_seq[receipt.device] = max(receipt.next_seq, self._next_seq.get(receipt.device, 0))
            self._came.notify_all()


def store_rows(effort: Effort) -> list[Row | Skipped]:
    """The part after the socket, in batches, on both databases."""
    rounds = effort.of(20, 4)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        ours, floor = Database(Path(name) / "ours"), Database(Path(name) / "floor")
        found: list[Row | Skipped] = [_store_row("sqlite", "SQLite", ours, floor, rounds)]
        for database in (ours, floor):
            database.close()
    if programs() is None:
        return [*found, Skipped("store-postgresql", "no PostgreSQL: apt-get install postgresql")]
    with running_cluster() as cluster:
        here, there = (PostgresDatabase(cluster.create(name), None) for name in ("ours", "floor"))
        found.append(_store_row("postgresql", "PostgreSQL", here, there, rounds))
        here.close()
        there.close()
    return found


def _store_row(name: str, title: str, ours: Store, floor: Store, rounds: int) -> Row:
    hall = _Hall()
    ingest = Ingest(ours.writer, {HALL: HALL_KEY})
    mine, bare = [], []
    copied = 0
    for _ in range(rounds):
        batch = hall.messages(BATCH)
        began_s = time.monotonic()
        taken = ingest.take(batch, EPOCH_MS)
        mine.append(BATCH / (time.monotonic() - began_s))
        if taken.counts["stored"] != BATCH:
            raise AssertionError(f"stored {taken.counts['stored']} of {BATCH}")
        with ours.reader.connect() as connection:
            query = sa.select(records).where(records.c.arrival > copied).order_by(records.c.arrival)
            rows = [tuple(row) for row in connection.execute(query)]
        copied += len(rows)
        bare.append(BATCH / _insert(floor.writer, rows))
    return Row(
        f"store-{name}",
        f"collector: the part after the socket, batches of {BATCH}, {title}",
        statistics.median(mine),
        "/s",
        statistics.median(bare),
        "executemany of ready rows, committed",
        Goal(at_least=0.5),
    )


def _insert(engine: sa.Engine, rows: list[tuple[object, ...]]) -> float:
    """Insert ready rows into the same table and commit; return how long it took."""
    mark = "?" if engine.dialect.paramstyle == "qmark" else "%s"
    text = f"INSERT INTO records VALUES ({','.join([mark] * len(rows[0]))})"  # noqa: S608  # marks only
    began_s = time.monotonic()
    with engine.begin() as connection:
        connection.exec_driver_sql(text, rows)
    return time.monotonic() - began_s
