"""Absences whatever happens in whatever order: what is told is what was, and a port that flaps fills nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from host_agent.absences import GRACE_S, SIGN_EVERY_S, STEADY_S, STOOD_STILL_S, WATCH_S, Absences, Change, Sign
from host_agent.instant import Instant
from protocol.payloads import Absence
from tests.chains import EPOCH_MS

EPSILON_S = 0.01
Span = tuple[float, float]


class Disk:
    """What would be in the database: the last sign of life, and every absence as it was stored last."""

    def __init__(self) -> None:
        self.sign: Sign | None = None
        self.said: dict[str, tuple[Absence, bool]] = {}

    def put(self, change: Change) -> None:
        self.sign = change.sign
        for one in change.absences:
            before = self.said.get(one.said.id)
            assert before is None or not before[1], "an end never changes"
            self.said[one.said.id] = one.said, one.is_over

    def lasting(self) -> list[Absence]:
        return [said for said, is_over in self.said.values() if not is_over]


class Window(RuleBasedStateMachine):
    """A window in true time; the PC's clock is right unless `clock_is_set`."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = Disk()
        self.true_s = 1000.0
        self.wrong_ms = 0
        self.was_set = self.is_full = False
        self.is_here = False
        self.run: Absences | None = None
        self.absent: dict[str, list[Span]] = {"device": [], "agent": []}
        """When each of them was absent in truth."""
        self.since: dict[str, float | None] = {"device": None, "agent": None}
        self.start()

    # --- what happens ----------------------------------------------------------------------------------------

    @rule(seconds=st.one_of(st.floats(0.1, 15), st.floats(15, 200)))
    def time_passes(self, seconds: float) -> None:
        end_s = self.true_s + seconds
        while self.run is not None and self.true_s < end_s:
            self.true_s = min(end_s, max(self.true_s + 0.05, min(self.run.deadline_s(), self.true_s + WATCH_S)))
            self.step()
        self.true_s = end_s

    @rule()
    def unplugged(self) -> None:
        if self.run is not None and self.is_here:
            self.is_here = False
            self._leaves("device")
            self.run.lost("unplugged", self.at())
            self.step()

    @rule()
    def plugged(self) -> None:
        if self.run is not None and not self.is_here:
            self.is_here = True
            self._returns("device")
            self.run.met("PJ-0001", self.at())
            self.step()

    @rule()
    def killed(self) -> None:
        if self.run is not None and not self.is_full:
            self.run = None
            self._ends()

    @rule()
    def stopped(self) -> None:
        if self.run is not None and not self.is_full:
            self.disk.put(self.run.stopped(self.at()))
            self.run = None
            self._ends()

    @rule()
    def start(self) -> None:
        if self.run is None:
            self._returns("agent")
            self._leaves("device")
            self.run = Absences(self.disk.sign, self.disk.lasting(), self.random.randbytes, lambda: "017")
            self.step()

    @rule(seconds=st.floats(STOOD_STILL_S + 1, 40_000))
    def sleeps(self, seconds: float) -> None:
        if self.run is not None:
            self._leaves("agent")
            self.true_s += seconds
            self._returns("agent")
            self.step()

    @rule(by_ms=st.sampled_from([-86_400_000, -60_000, 60_000, 400 * 86_400_000]))
    def clock_is_set(self, by_ms: int) -> None:
        self.was_set = True
        self.wrong_ms += by_ms

    @rule()
    def disk_fills(self) -> None:
        """For so long as the agent lives: what it could not write at all is lost with it."""
        self.is_full = self.run is not None

    @rule()
    def disk_has_room_again(self) -> None:
        self.is_full = False
        if self.run is not None:
            self.step()

    # --- what must be so when all has come to rest -----------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "disk"):
            return
        self.is_full = False
        self.start()
        self.plugged()
        self.time_passes(2 * STEADY_S)
        assert all(is_over for _, is_over in self.disk.said.values())
        self.nothing_is_negative_and_lengths_are_true()
        if not self.was_set:
            self.they_are_in_order_and_apart()
            self.what_was_is_told_and_nothing_else()

    def nothing_is_negative_and_lengths_are_true(self) -> None:
        for said, _ in self.disk.said.values():
            assert said.end_ms is not None
            assert said.end_ms >= said.begin_ms
            assert said.lasted_ms is None or said.lasted_ms >= 0
            if said.measured and said.lasted_ms is not None:
                # whatever the PC's clock said, so long somebody was absent, but for returns that did not last
                lengths = [end - begin for begin, end in self._merged(said.what)]
                assert any(said.lasted_ms / 1000 <= length + EPSILON_S for length in lengths), (said, lengths)

    def they_are_in_order_and_apart(self) -> None:
        for what in ("device", "agent"):
            spans = [self._true(said) for said, _ in self.disk.said.values() if said.what == what]
            assert all(before <= begin for (_, before), (begin, _) in itertools.pairwise(spans)), spans

    def what_was_is_told_and_nothing_else(self) -> None:
        told = {
            what: [self._true(said) for said, _ in self.disk.said.values() if said.what == what] for what in ("device", "agent")
        }
        for begin, end in self.absent["agent"]:
            assert _is_within(begin, end, told["agent"], EPSILON_S), (begin, end, told)
        # what was lost while nobody ran is told of as that
        for begin, end in self.absent["device"]:
            if end - begin > GRACE_S + WATCH_S + EPSILON_S:
                assert _is_within(begin, end - WATCH_S, [*told["device"], *told["agent"]], EPSILON_S), (begin, end, told)
        for what, slack_s in (("device", 0.0), ("agent", SIGN_EVERY_S + WATCH_S)):
            # a device that was not here is taken to be away through runs of the agent too short to find it
            spans = [*self._merged(what), *self._merged("agent")]
            for begin, end in told[what]:
                assert _is_within(begin + slack_s, end, spans, STEADY_S + EPSILON_S), (what, begin, end)

    # --- inside ----------------------------------------------------------------------------------------------

    def at(self) -> Instant:
        return Instant(self.true_s, EPOCH_MS + int(self.true_s * 1000) + self.wrong_ms)

    def step(self) -> None:
        assert self.run is not None
        change = self.run.due(self.at(), lambda: 0)
        if change is not None and not self.is_full:  # else it is said again
            self.disk.put(change)
            self.run.stored(change, self.at())

    def _ends(self) -> None:
        self._returns("device")  # nobody can tell any more
        self.is_here = False
        self._leaves("agent")

    def _leaves(self, what: str) -> None:
        self.since[what] = self.true_s

    def _returns(self, what: str) -> None:
        since, self.since[what] = self.since[what], None
        if since is not None:
            self.absent[what].append((since, self.true_s))

    def _merged(self, what: str) -> list[Span]:
        since = self.since[what]
        spans = [*self.absent[what], *([(since, self.true_s)] if since is not None else [])]
        return list(_joined(spans, STEADY_S + WATCH_S))

    def _true(self, said: Absence) -> Span:
        assert said.end_ms is not None
        return (said.begin_ms - EPOCH_MS) / 1000, (said.end_ms - EPOCH_MS) / 1000


def _joined(spans: Iterable[Span], gap_s: float) -> Iterable[Span]:
    at: Span | None = None
    for begin, end in sorted(spans):
        if at is not None and begin - at[1] <= gap_s:
            at = at[0], max(at[1], end)
        else:
            if at is not None:
                yield at
            at = begin, end
    if at is not None:
        yield at


def _is_within(begin: float, end: float, spans: Iterable[Span], slack_s: float) -> bool:
    if end - begin <= 2 * slack_s:
        return True
    return any(a <= begin + slack_s and end - slack_s <= b for a, b in _joined(spans, slack_s))


TestWindow = Window.TestCase
TestWindow.settings = settings(max_examples=60, stateful_step_count=25)


@settings(max_examples=20)
@given(st.lists(st.floats(0.01, STEADY_S - 0.1), min_size=20, max_size=60), st.integers(0, 99))
def test_a_port_that_flaps_is_one_absence(pauses: list[float], seed: int) -> None:
    disk, now_s = Disk(), 0.0
    run = Absences(None, [], Random(seed).randbytes, lambda: None)
    for pause_s in pauses:
        now_s += pause_s
        at = Instant(now_s, EPOCH_MS + int(now_s * 1000))
        run.lost("unplugged", at)
        run.met("PJ-0001", at)
        if (change := run.due(at, lambda: 0)) is not None:
            disk.put(change)
            run.stored(change, at)
    ((said, is_over),) = disk.said.values()
    assert not is_over
    at = Instant(now_s + STEADY_S + EPSILON_S, EPOCH_MS)
    change = run.due(at, lambda: 0)
    assert change is not None
    assert [(one.said.id, one.said.times, one.is_over) for one in change.absences] == [(said.id, len(pauses), True)]
