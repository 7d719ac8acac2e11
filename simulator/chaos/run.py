"""One run: rounds of faults, each followed by repair, rest and judgement; what was broken is whole before anything is compared."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeGuard

from simulator.chaos import faults
from simulator.chaos.citizen import Citizen
from simulator.chaos.hall import Hall, Post
from simulator.chaos.oracle import judge
from simulator.chaos.plan import Happening, draw
from simulator.compare import Findings
from simulator.demo.clients import summary
from simulator.services import ServiceFailed

START_S = 60.0
SETTLE_S = 600.0
"""A record whose message or receipt was lost is sent again after a minute, then two, then four."""
REST_S = 5.0
"""More than two of the device's heartbeats: what an agent says of its device is as old as the last of them."""
ROUND_S = 120.0
WAITING = ("journal_waiting", "outbox_to_send", "outbox_sent")
TICK_S = 0.02
LOOK_S = 0.2
Say = Callable[[str], None]


class Interrupted(Exception):
    """Somebody wants it to end."""


@dataclass
class Wish:
    """What is to be run; `kinds` are the names of faults, all when empty."""

    seconds: float
    seed: int
    broker: str = "nats"
    store: str = "sqlite"
    windows: int = 2
    kinds: Collection[str] = ()


@dataclass
class Outcome:
    """What a run came to."""

    findings: Findings = field(default_factory=Findings)
    faults: Counter[str] = field(default_factory=Counter)
    impossible: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    unanswered: int = 0
    rounds: int = 0
    recovery_s: float = 0.0
    """The longest time from everything put right to everything collected and receipted."""
    ended_by_themselves: int = 0
    wall_s: float = 0.0


class Run:
    """A run in `folder`; `before_judging` lets a test spoil the collection."""

    def __init__(
        self,
        wish: Wish,
        folder: Path,
        say: Say,
        stopping: threading.Event,
        before_judging: Callable[[Hall], None] | None = None,
    ) -> None:
        self._wish = wish
        self._say = say
        self._stopping = stopping
        self._before_judging = before_judging
        self._random = Random(wish.seed)
        self._hall = Hall(folder, wish.windows, wish.broker, wish.store)
        self._active: list[tuple[float, faults.Undo]] = []
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run everything; Interrupted when it was told to stop before the end, with nothing left behind."""
        began_s = time.monotonic()
        try:
            self._hall.start_collection()
            self._await("the collector", lambda: bool(self._hall.collector.url))
            self._hall.start_windows()
            self._await("the agents", lambda: all(_talks(_status(post)) for post in self._hall.posts))
            citizens = [Citizen(post, self._random.getrandbits(32), began_s) for post in self._hall.posts]
            for seconds in _rounds(self._wish.seconds):
                self._round(citizens, seconds)
                if self.outcome.findings.wrong:
                    break
        finally:
            self._hall.close()
        self.outcome.wall_s = time.monotonic() - began_s
        return self.outcome

    def _round(self, citizens: Sequence[Citizen], seconds: float) -> None:
        kinds = faults.possible(self._hall, self._wish.kinds)
        plan = draw(self._random, seconds, len(self._hall.posts), kinds)
        for citizen in citizens:
            citizen.start()
        try:
            self._break(plan, seconds)
        finally:
            self._repair()
            for citizen in citizens:
                citizen.stop()
        settled_s = self._settle()
        for citizen in citizens:
            citizen.hear_the_rest()
        outcome = self.outcome
        outcome.rounds += 1
        if self._before_judging is not None:
            self._before_judging(self._hall)
        outcome.findings = judge(citizens, self._hall.reader())
        if settled_s is None:
            outcome.findings.wrong += [f"not at rest after {SETTLE_S:.0f} s: {text}" for text in self._unrest()]
        outcome.recovery_s = max(outcome.recovery_s, SETTLE_S if settled_s is None else settled_s)
        presses = [press for citizen in citizens for press in citizen.presses]
        outcome.refused = sum(press.is_refused for press in presses)
        outcome.unanswered = len(presses) - outcome.refused - outcome.findings.thanked
        outcome.impossible = self._hall.impossible
        outcome.ended_by_themselves = self._hall.ended_by_themselves()
        self._say(
            f"第 {outcome.rounds} 轮 round: {outcome.findings.thanked} 致谢 thanked, {outcome.findings.collected} 归集 collected,"
            f" {outcome.faults.total()} 故障 faults, 恢复 recovery {outcome.recovery_s:.0f} s"
        )

    def _break(self, plan: Sequence[Happening], seconds: float) -> None:
        began_s = time.monotonic()
        waiting = list(plan)
        while (at_s := time.monotonic() - began_s) < seconds:
            for over in [one for one in self._active if one[0] <= at_s]:
                self._active.remove(over)
                over[1]()
            while waiting and waiting[0].at_s <= at_s:
                happening = waiting.pop(0)
                self.outcome.faults[happening.kind.name] += 1
                undo = faults.begin(self._hall, happening, self._random)
                self._active.append((happening.at_s + happening.for_s, undo))
            self._tick(TICK_S)

    def _repair(self) -> None:
        """Put everything right that still is wrong."""
        for _, undo in self._active:
            undo()
        self._active.clear()

    def _tick(self, seconds: float) -> None:
        self._hall.look()
        if self._stopping.wait(seconds):
            raise Interrupted

    def _await(self, what: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not is_ready():
            if time.monotonic() > deadline:
                raise ServiceFailed(f"未能就绪 not ready: {what}; logs: {self._hall.folder}")
            self._tick(LOOK_S)

    def _settle(self) -> float | None:
        """Wait until nothing is on its way for a while; return how long that took to begin, None when it never came to rest."""
        began_s = restless_s = time.monotonic()
        while (now_s := time.monotonic()) - began_s < SETTLE_S:
            if self._unrest():
                restless_s = time.monotonic()
            elif now_s - restless_s > REST_S:
                return restless_s - began_s
            self._tick(LOOK_S)
        return None

    def _unrest(self) -> list[str]:
        """Return what is still on its way, or away."""
        found = []
        for post in self._hall.posts:
            status = _status(post)
            if not _talks(status):
                found.append(f"{post.device.name}: the agent does not talk to device and broker")
                continue
            waiting = {name: status[name] for name in WAITING if status[name] != 0}
            if waiting:
                found.append(f"{post.device.name}: {waiting}")
        try:
            if not self._hall.collector.url or not summary(self._hall.collector.url)["broker"]:
                found.append("the collector is not connected")
        except (OSError, ValueError, http.client.HTTPException):
            found.append("the collector does not answer")
        return found


def _rounds(seconds: float) -> list[float]:
    count = max(1, round(seconds / ROUND_S))
    return [seconds / count] * count


def _status(post: Post) -> dict[str, Any] | None:
    client = post.client()
    try:
        return dict(client.ask("GET", "/v1/status")) if client is not None else None
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _talks(status: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    return status is not None and status["link"] == "talking" and bool(status["broker_connected"])
