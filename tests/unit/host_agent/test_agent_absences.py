"""Absences at the agent: durable before anything else is said of them, sent until the collection has them, known after any end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from host_agent import absences
from host_agent.absences import GRACE_S, STEADY_MANY_S, STEADY_S, STOOD_STILL_S, Absences
from host_agent.attendance import Attendance
from host_agent.instant import Instant
from host_agent.store.absences import AbsenceStore
from host_agent.store.database import Writer
from host_agent.surroundings import Surroundings
from host_agent.uplink.absences import AbsenceReports
from host_agent.uplink.repeated import AGAIN_EVERY_S, MOST_AT_ONCE
from protocol.payloads import Absence, AbsenceKept
from tests.agent_bench import DEVICE
from tests.chains import EPOCH_MS

Told = tuple[str, str, int | None]


class Window:
    """An agent's account of absences on a real database, in virtual time, and what the collection hears of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mono_s = 100.0
        self.slept_s = 0.0
        self.utc_ms = EPOCH_MS
        self.heard: list[Absence] = []
        self.entropy = Random(1).randbytes
        self.start()

    def start(self) -> None:
        self.writer = Writer(self.folder)
        self.store = AbsenceStore(self.writer)
        surroundings = Surroundings(asleep_s=lambda: self.slept_s, entropy=self.entropy)
        self.attendance = Attendance(self.store, surroundings, lambda: "017")
        self.reports = AbsenceReports(self.store)
        self.step()

    @property
    def now(self) -> Instant:
        return Instant(self.mono_s, self.utc_ms)

    def step(self) -> list[Told]:
        """Take a turn; return what goes out: who, why, how many seconds."""
        self.attendance.watch(self.now)
        self.attendance.step(self.now)
        before = len(self.heard)
        self.reports.step(lambda payload: self.heard.append(Absence.from_json(payload)), self.now)
        return [_told(one) for one in self.heard[before:]]

    def wait(self, seconds: float, *, clock_ms: int = 0) -> list[Told]:
        """Let the agent run for so long; return what went out."""
        self.utc_ms += clock_ms
        told: list[Told] = []
        while seconds > 0:
            self.pass_by(min(1.0, seconds))
            told += self.step()
            seconds -= 1
        return told

    def pass_by(self, seconds: float) -> None:
        """Let time pass without the agent."""
        self.mono_s += seconds
        self.utc_ms += round(seconds * 1000)

    def answer(self, *, is_first: bool = True) -> None:
        for one in self.heard:
            word = AbsenceKept(id=one.id, is_over=one.end_ms is not None, is_first=is_first)
            self.reports.received(word.to_json())

    def kill(self) -> None:
        self.writer.close()

    def stop(self) -> None:
        self.attendance.stop(self.now)
        self.writer.close()

    def met(self) -> None:
        self.attendance.met(DEVICE, self.now)

    def lost(self) -> None:
        self.attendance.lost("unplugged", self.now)


def _told(said: Absence) -> Told:
    return said.what, said.reason, None if said.lasted_ms is None else round(said.lasted_ms / 1000)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    made = Window(tmp_path)
    yield made
    made.writer.close()


def test_it_is_told_when_it_begins_and_when_it_is_over_and_then_forgotten(window: Window) -> None:
    window.met()
    assert window.wait(120) == []
    window.lost()
    assert window.step() == [("device", "unplugged", None)]
    assert window.wait(30) == []
    window.answer()
    window.met()
    assert window.wait(STEADY_S + 1) == [("device", "unplugged", 30)]
    first, last = window.heard
    assert (first.id, first.begin_ms, first.staff, first.device) == (last.id, last.begin_ms, "017", DEVICE)
    assert (last.measured, last.end_ms) == (True, last.begin_ms + 30_000)
    assert window.wait(AGAIN_EVERY_S + 1) == [("device", "unplugged", 30)]
    window.answer()
    assert window.wait(AGAIN_EVERY_S + 1) == []
    assert window.store.count() == 0


def test_a_clock_that_is_set_meanwhile_falsifies_no_length(window: Window) -> None:
    for clock_ms in (-86_400_000, 86_400_000):
        window.met()
        window.wait(STEADY_S + 1)
        window.lost()
        window.wait(40, clock_ms=clock_ms)
        window.met()
        assert window.wait(STEADY_S + 1)[-1] == ("device", "unplugged", 40)
        said = window.heard[-1]
        assert said.end_ms is not None
        assert said.end_ms - said.begin_ms == max(0, 40_000 + clock_ms)


def test_an_agent_that_was_stopped_and_one_that_was_killed(window: Window) -> None:
    window.met()
    window.wait(90)
    window.stop()
    window.pass_by(300)
    window.start()
    window.met()
    assert window.wait(STEADY_S + 1) == [("agent", "stopped", 300)]
    window.wait(30)  # the last sign of life is as old as that by then, or not quite a minute
    window.kill()
    window.pass_by(300)
    window.start()
    window.met()
    ((what, reason, lasted_s),) = [one for one in window.wait(STEADY_S + 1) if one[1] == "killed"]
    assert (what, reason) == ("agent", "killed")
    assert 300 <= lasted_s <= 361  # type: ignore[operator]  # it is over


def test_a_clock_that_was_set_back_while_nobody_ran_makes_a_length_that_nobody_knows(window: Window) -> None:
    window.stop()
    window.utc_ms -= 86_400_000
    window.pass_by(60)
    window.start()
    assert window.wait(STEADY_S) == [("agent", "stopped", None)]
    (said,) = window.heard
    assert (said.end_ms, said.lasted_ms, said.measured) == (said.begin_ms, None, False)


@pytest.mark.parametrize("goes_on", [True, False], ids=["as on Windows", "as on Linux"])
def test_a_pc_that_slept(window: Window, goes_on: bool) -> None:
    window.met()
    window.wait(20)
    window.utc_ms += 3_600_000
    if goes_on:
        window.mono_s += 3600
    else:
        window.slept_s += 3600
    assert window.wait(STEADY_S + 1) == [("agent", "slept", 3601)]
    assert window.heard[-1].measured
    window.wait(20, clock_ms=3_600_000)  # only the clock was set
    assert len(window.heard) == 1


def test_a_device_that_was_back_before_the_pc_slept_was_back(window: Window) -> None:
    """Found by a world: what was lost while the PC slept is heard of before anybody has looked at the time."""
    window.met()
    window.wait(20)
    window.lost()
    window.wait(5)
    window.met()
    window.wait(2)
    window.pass_by(100)
    window.lost()
    window.wait(STEADY_S + 1)
    assert [_told(one) for one in window.heard] == [
        ("device", "unplugged", None),
        ("device", "unplugged", 5),
        ("device", "unplugged", None),
        ("agent", "slept", 100),
    ]


def test_standing_still_for_a_moment_is_no_absence(window: Window) -> None:
    window.met()
    window.wait(20)
    window.pass_by(STOOD_STILL_S - 1)
    assert window.wait(STEADY_S + 1) == []


def test_a_device_is_given_time_after_a_start_and_then_it_is_missing_since_then(window: Window) -> None:
    window.wait(GRACE_S)
    assert window.heard == []
    assert window.wait(1) == [("device", "missing", None)]
    assert window.heard[-1].begin_ms == EPOCH_MS
    window.met()
    assert window.wait(STEADY_S + 1) == [("device", "missing", 11)]


def test_one_that_lasts_when_the_agent_ends_is_over_where_it_was_seen_last(window: Window) -> None:
    window.met()
    window.wait(70)
    window.lost()
    window.wait(30)
    window.stop()
    window.pass_by(500)
    window.heard.clear()
    window.start()
    window.met()
    window.wait(STEADY_S + 1)
    assert [_told(one) for one in window.heard] == [("device", "unplugged", 30), ("agent", "stopped", 500)]


def test_runs_that_do_not_last_make_one_absence(window: Window) -> None:
    window.met()
    window.wait(70)
    for _ in range(20):
        window.lost()
        window.step()
        window.kill()
        window.pass_by(3)
        window.start()
        window.wait(4)
        window.met()
    window.wait(STEADY_S + 1)
    over = {one.what: one for one in window.heard if one.end_ms}
    assert {one.reason for one in over.values()} == {"killed", "unplugged"}
    assert len({one.id for one in window.heard}) == 3  # the first loss ended with the run that lasted
    assert over["agent"].times == 20


def test_while_very_many_wait_they_are_taken_together(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absences, "MANY", 5)
    for _ in range(40):
        window.met()
        window.wait(STEADY_S + 1)
        window.lost()
        window.step()
    assert window.store.count() == 5
    window.met()
    window.wait(STEADY_MANY_S + 1)
    assert sum(one.times for one in {one.id: one for one in window.heard}.values()) == 40


def test_everything_goes_out_however_many_they_are(window: Window) -> None:
    count = 2 * MOST_AT_ONCE + 3
    for _ in range(count):
        window.met()
        window.pass_by(STEADY_S + 1)
        window.attendance.step(window.now)
        window.lost()
        window.attendance.step(window.now)
    window.heard.clear()
    window.reports.connected()
    for _ in range(4):
        window.step()
    assert len({one.id for one in window.heard}) == count
    window.answer()
    window.heard.clear()
    assert window.wait(AGAIN_EVERY_S + 1) == []


def test_one_that_is_not_taken_is_told_in_the_log_and_not_sent_for_ever(
    window: Window, caplog: pytest.LogCaptureFixture
) -> None:
    window.met()
    window.lost()
    window.wait(12)
    window.met()
    window.wait(STEADY_S + 1)
    with caplog.at_level(logging.ERROR):
        window.answer(is_first=False)
    assert "something else was said" in caplog.text
    assert window.wait(AGAIN_EVERY_S + 1) == []
    window.reports.received(b"{")
    window.reports.received(AbsenceKept(id="0" * 32, is_over=True, is_first=True).to_json())


def test_a_database_that_cannot_be_written_loses_none(window: Window) -> None:
    run = Absences(None, [], Random(1).randbytes, lambda: None)
    run.met(DEVICE, window.now)
    first = run.due(window.now, lambda: 0)
    assert first is not None
    run.stored(first, window.now)
    run.lost("silent", window.now)
    refused = run.due(window.now, lambda: 0)
    again = run.due(window.now, lambda: 0)
    assert refused is not None
    assert refused == again
