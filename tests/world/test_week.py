"""A week at one window, the agent never restarted: after the first days nothing in it or on its disk grows any more.

A day here is ten minutes of virtual time with the visits of a quiet day and some trouble, and records are kept for one such day:
what an agent does depends on how much comes, not on how long the nights are. The week is the model's, the agent and its
database are real.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from host_agent import agent as agent_module
from host_agent import notices
from host_agent.store import upkeep
from host_agent.store.database import MOST_LOG_BYTES
from simulator.world import plan as plan_module
from simulator.world.hall import Hall
from simulator.world.plan import Happening, Plan

DAY_S, DAYS = 600.0, 7
SETTLED_AFTER = 3
"""Days after which everything has reached its size: what comes in a day, and what is kept of the day before."""
VISITS = 40
BY_REASON = ("damaged", "_damage_told")
"""Hold the few reasons for which a frame can be refused, each once it has been met."""
TROUBLES = ("unplugged", "link mute", "bad line", "connection dropped", "broker unreachable", "bad broker", "collector killed")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def week() -> Plan:
    random = Random(7)
    happenings: list[Happening] = []
    for day in range(DAYS):
        for _ in range(VISITS):
            happenings += plan_module._visit(random, day, random.uniform(0, DAY_S - 60), 0)
        happenings += [Happening(day, random.uniform(0, DAY_S - 60), 0, what, random.getrandbits(32)) for what in TROUBLES]
    return Plan(7, 1, (DAY_S,) * DAYS, tuple(sorted(happenings)))


class Week(Hall):
    """Measures at the end of each day, when all has come to rest."""

    def __init__(self, folder: Path) -> None:
        self.measured: list[dict[str, int]] = []
        self.lives: set[int] = set()
        super().__init__(week(), folder)

    def _judge(self) -> Any:
        agent = self.posts[0].agent.agent
        assert agent is not None
        self.lives.add(id(agent))
        file = self.posts[0].agent.file
        with contextlib.closing(sqlite3.connect(file)) as connection:
            (records,) = connection.execute("SELECT count(*) FROM records").fetchone()
        handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        held = contained(agent)
        self.measured.append(
            {
                "records": records,
                "file": file.stat().st_size,
                "log": file.with_name(file.name + "-wal").stat().st_size,
                "open files": handles,
                "contained": held.total(),
            }
        )
        return super()._judge()


def contained(root: object) -> Counter[str]:
    """Count what is in every container that an object of the agent's holds, by where it is; counters by name have an end."""
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    todo: list[tuple[str, object]] = [("agent", root)]
    while todo:
        where, one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Counter):
            continue
        if isinstance(one, dict):
            counts[where] += len(one)
            todo += [(where, value) for value in one.values()]
        elif isinstance(one, list | set | frozenset | tuple | deque | bytearray):
            counts[where] += len(one)
            todo += [] if isinstance(one, bytearray) else [(where, value) for value in one]
        elif type(one).__module__.startswith("host_agent."):
            names = [
                name for name in [*getattr(one, "__dict__", {}), *getattr(type(one), "__slots__", ())] if name not in BY_REASON
            ]
            todo += [(f"{where}.{name}", getattr(one, name, None)) for name in names]
    return counts


def test_nothing_grows_over_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # retention_days is 90; of days as short as that it is one of ours
    monkeypatch.setattr(agent_module, "DAY_MS", int(DAY_S * 1000) // 90)
    monkeypatch.setattr(upkeep, "WALK_EVERY_S", DAY_S / 4)
    monkeypatch.setattr(notices, "KEPT", 16)  # full on the first day, as the real number is in the first weeks
    hall = Week(tmp_path)
    outcome = hall.run()
    hall.close()
    assert not outcome.wrong
    assert len(hall.measured) == DAYS
    assert len(hall.lives) == 1, "the agent was never restarted"
    first, later = hall.measured[:SETTLED_AFTER], hall.measured[SETTLED_AFTER:]
    assert outcome.found.thanked > DAYS * 20
    for name in ("file", "open files", "contained"):
        most = max(day[name] for day in first)
        assert all(day[name] <= most for day in later), (name, [day[name] for day in hall.measured])
    assert all(day["log"] <= MOST_LOG_BYTES + (1 << 18) for day in later)
    assert max(day["records"] for day in later) < outcome.found.thanked / 2, "what is old has gone"
