"""Thirty days without a broker at 1,000 ratings a day; then it comes back, and everything that drains is killed on the way.

The device's part of such a month is in `tests/unit/firmware` (a full journal refuses visibly); here the outbox of an agent holds it.
"""

from __future__ import annotations

import time
from pathlib import Path

from host_agent.store.database import Writer
from host_agent.store.outbox import Outbox
from protocol.levels import Level
from protocol.record import Record
from tests.brokers import Broker, start_nats
from tests.chains import PaperDevice
from tests.hall import DEVICE, Hall, Program, eventually

DAYS, RATINGS_A_DAY = 30, 1_000
DAY_MS = 86_400_000
WITHIN_S = 90.0
"""For all of it: the rate is measured by tools.bench, not here."""


def test_a_month_of_ratings_arrives_once_through_kills_of_agent_broker_and_collector(tmp_path: Path) -> None:
    device = PaperDevice(DEVICE)
    days = [device.write_many(RATINGS_A_DAY) for _ in range(DAYS)]
    broker = start_nats(tmp_path / "broker")
    with Hall(tmp_path, broker) as hall:
        _a_month_passes(hall.data_dir, days)
        hall.collector.start()
        broker.kill()
        hall.agent.start()  # this morning, as on every other
        assert hall.status()["outbox_to_send"] == len(device.written)

        broker.start()
        victims: list[Program | Broker] = [hall.agent, broker, hall.collector]
        for number, victim in enumerate(victims, start=1):
            share = number * len(device.written) // (len(victims) + 2)
            eventually(f"{share} collected", lambda share=share: _collected(hall) >= share, WITHIN_S)  # type: ignore[misc]  # mypy cannot infer a lambda with a bound default
            assert hall.status()["outbox_to_send"], "the drain was over before anything was killed"
            victim.kill()
            victim.start()

        written = [record for record in device.written if record.level]
        eventually("all collected", lambda: _collected(hall) >= len(written), WITHIN_S)
        eventually("nothing waits", lambda: not hall.status()["outbox_to_send"] + hall.status()["outbox_sent"], WITHIN_S)
        found = sorted((rating["seq"], rating["level"]) for rating in hall.ratings())
        assert found == [(record.seq, Level(record.level).word) for record in written]
        assert not any(hall.summary()["evidence"].values())
        assert hall.summary()["gaps"] == 0


def _a_month_passes(data_dir: Path, days: list[list[Record]]) -> None:
    """Leave the outbox as an agent leaves it that has had a device on every day and a broker on none."""
    writer = Writer(data_dir)
    outbox = Outbox(writer)
    now_ms = time.time_ns() // 1_000_000
    for ago, records in zip(range(DAYS, 0, -1), days, strict=True):
        with writer.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO devices (device, next_seq, receipt_seq, seen_ms) VALUES (?, 0, 0, 0)", (DEVICE,)
            )
            outbox.accept(connection, DEVICE, [(record, record.pack()) for record in records], now_ms - ago * DAY_MS)
            outbox.advance(connection, DEVICE, records[-1].seq + 1)
    writer.close()


def _collected(hall: Hall) -> int:
    return int(hall.summary()["ratings"])
