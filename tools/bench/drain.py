"""An agent empties its outbox after an outage: how fast, how soon, in how much memory, and whether everything arrives once.

The outbox is filled beforehand; the agent runs without a broker; then the broker comes back, and the collector's session in
it holds what the agent sends until the collector is started again and says what it has. The floor publishes the same messages
from a file with bare paho, at whichever window is fastest.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from host_agent.store.database import Writer
from host_agent.store.outbox import Outbox
from protocol.record import parse_record
from simulator.services import HOST, Service
from tools.bench.paper import EPOCH_MS, PaperDevice
from tools.bench.stage import Stage, program, until
from tools.bench.table import Effort, Goal, Row

WINDOWS = (20, 100, 400)
SETTLE_S = 3.0
MEGA = 1_000_000


def drain_rows(effort: Effort) -> list[Row]:
    """One outage of full length, between two measurements of the floor."""
    count = effort.of(100_000, 5_000)
    paper = PaperDevice("PJ-0001", "1")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Stage(Path(name)) as stage:
        lines = stage.folder / "lines"
        written = paper.write(count)
        lines.write_bytes(b"\n".join(paper.payload(raw) for raw in written[: effort.of(20_000, 5_000)]) + b"\n")
        _fill(stage.folder / "agent", paper.name, written)
        broker = stage.start_broker()
        stage.start_collector().stop()  # its session stays at the broker
        for client in ("first", "last"):
            subprocess.run(_listener(stage, paper, client, "-E"), check=True, timeout=30)  # as theirs do
        before = _floor(stage, lines)
        broker.stop()
        agent = psutil.Process(stage.start_agent(str(stage.folder / "no-port")).pid)
        time.sleep(SETTLE_S)  # not for a condition: memory at rest
        idle_mb = agent.memory_info().rss / MEGA
        back_s = time.monotonic()
        stage.start_broker()
        first, last = (
            subprocess.Popen(_listener(stage, paper, client, "-C", str(wanted)), stdout=subprocess.DEVNULL)
            for client, wanted in (("first", 1), ("last", count))
        )
        most_mb = 0.0
        first_s = last_s = 0.0
        while not last_s:
            time.sleep(0.01)
            most_mb = max(most_mb, agent.memory_info().rss / MEGA)
            first_s = first_s or (0.0 if first.poll() is None else time.monotonic())
            last_s = 0.0 if last.poll() is None else time.monotonic()
            if time.monotonic() > back_s + 300:
                raise TimeoutError("the outbox is not empty after five minutes")
        after = _floor(stage, lines)
        lost, doubled = _exactness(stage, count)
    return [
        Row(
            "drain",
            f"agent: drain of {count:,} ratings after an outage",
            count / (last_s - first_s),
            "/s",
            max(before, after),
            "bare paho at its best window",
            Goal(at_least=0.8),
        ),
        Row("drain-first", "broker back → first message", first_s - back_s, "s", goal=Goal(at_most=3)),
        Row("drain-memory", "agent: memory above idle while it drains", most_mb - idle_mb, "MB", goal=Goal(at_most=40)),
        Row("drain-lost", "ratings lost at the collector", lost, "", goal=Goal(at_most=0)),
        Row("drain-doubled", "ratings doubled at the collector", doubled, "", goal=Goal(at_most=0)),
    ]


def _fill(data_dir: Path, device: str, written: list[bytes]) -> None:
    """Make the outbox of an agent that has had no broker for long."""
    writer = Writer(data_dir)
    outbox = Outbox(writer)
    for at in range(0, len(written), 1000):
        batch = [(parse_record(raw), raw) for raw in written[at : at + 1000]]
        with writer.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO devices (device, next_seq, receipt_seq, seen_ms) VALUES (?, 0, 0, 0)", (device,)
            )
            outbox.accept(connection, device, batch, EPOCH_MS)
            outbox.advance(connection, device, batch[-1][0].seq + 1)
    writer.close()


def _floor(stage: Stage, lines: Path) -> float:
    """Return the best rate of bare paho over its windows."""
    rates = []
    for window in WINDOWS:
        command = [sys.executable, "-m", "tools.bench.floor_client", "publish", str(stage.port), "floor/up", str(lines)]
        service: Service = stage.start("publish", [*command, str(window)])
        rates.append(lines.read_bytes().count(b"\n") / float(service.ready_url()))
        service.stop()
    return max(rates)


def _listener(stage: Stage, paper: PaperDevice, client: str, *more: str) -> list[str]:
    """Return the command of a subscriber in C, on a session that the broker keeps."""
    session = ["-i", client, "-c", "-q", "1", "-t", paper.topic]
    return [program("mosquitto_sub"), "-h", HOST, "-p", str(stage.port), *session, *more]


def _exactness(stage: Stage, count: int) -> tuple[int, int]:
    """Start the collector again; return how many ratings it does not have in the end, and how many it has more than once."""
    stage.start_collector()
    with sqlite3.connect(f"file:{stage.folder}/collected/collector.db?mode=ro", uri=True) as database:

        def stored(what: str) -> int:
            return int(database.execute(f"SELECT count({what}) FROM records WHERE kind = 'rating'").fetchone()[0])  # noqa: S608  # a word of ours

        until("everything in the collector", lambda: stored("*") >= count, within_s=120)
        different = stored("DISTINCT device || '/' || seq")
        return count - different, stored("*") - different
