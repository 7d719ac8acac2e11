"""Whatever crystal, line and PC do, the reckoned time of a press is no further off than it says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from host_agent.instant import Instant
from host_agent.link.device_clock import DOUBTED, JUMP_MS, KEPT, MOST_DRIFT, UNKNOWN, DeviceClock
from protocol.payloads import Reckoned
from protocol.record import Record
from tests.chains import EPOCH_MS, PaperDevice

DEVICE, BOOT = "PJ-0001", 7
DAY_MS = 86_400_000
RECORD = PaperDevice().write()


def written(uptime_ms: int, boot: int = BOOT) -> Record:
    return replace(RECORD, uptime_ms=uptime_ms, boot=boot)


@dataclass
class Bench:
    """A device whose clock runs by `drift` against the PC's, and a PC whose UTC can be set. True time is the PC's monotonic time."""

    drift: float
    started_ms: float
    utc_ms: float = EPOCH_MS

    def __post_init__(self) -> None:
        self.clock = DeviceClock()

    def uptime_ms(self, true_ms: float) -> int:
        return int((true_ms - self.started_ms) / (1 + self.drift))

    def instant(self, true_ms: float) -> Instant:
        return Instant(true_ms / 1000, round(self.utc_ms + true_ms))

    def meet(self, true_ms: float, before_ms: float = 5, after_ms: float = 5) -> None:
        self.clock.watch(self.instant(true_ms))
        uptime_ms = self.uptime_ms(true_ms)
        self.clock.met(DEVICE, BOOT, uptime_ms, (true_ms - before_ms) / 1000, (true_ms + after_ms) / 1000)

    def beat(self, true_ms: float, before_ms: float, after_ms: float, shift_ms: float = 0) -> None:
        self.clock.watch(self.instant(true_ms))
        asked_ms, heard_ms = true_ms - before_ms + shift_ms, true_ms + after_ms + shift_ms
        self.clock.heard(self.uptime_ms(true_ms), asked_ms / 1000, heard_ms / 1000)

    def reckon(self, pressed_ms: float, now_ms: float) -> Reckoned:
        self.clock.watch(self.instant(now_ms))
        return self.clock.reckon(DEVICE, written(self.uptime_ms(pressed_ms)), self.instant(now_ms))

    def error_ms(self, reckoned: Reckoned, pressed_ms: float) -> float:
        assert reckoned.at_ms is not None
        return abs(reckoned.at_ms - (self.utc_ms + pressed_ms))


drifts = st.floats(-MOST_DRIFT, MOST_DRIFT)
delays = st.one_of(st.floats(0, 20), st.floats(0, 20), st.floats(0, 20), st.floats(0, 900))
beats = st.lists(st.tuples(delays, delays, st.sampled_from([0, 0, 0, 0, 0, 1]), st.floats(5_000, DAY_MS)), max_size=120)
steps = st.sampled_from([0, 0, DAY_MS, -DAY_MS, 3 * JUMP_MS])


@settings(max_examples=150)
@given(drifts, st.floats(0, 12 * 3_600_000), delays, delays, beats, st.data())
def test_the_error_is_within_the_stated_uncertainty(
    drift: float,
    offline_ms: float,
    before_ms: float,
    after_ms: float,
    line: list[tuple[float, float, int, float]],
    data: st.DataObject,
) -> None:
    """Any crystal within the limit, any delays, lone samples that are nonsense, and a PC whose clock is set."""
    now_ms = 20 * 3_600_000.0
    bench = Bench(drift, now_ms - offline_ms - 1000)
    bench.meet(now_ms, before_ms, after_ms)
    was_odd = False
    set_ms: list[float] = []
    for before, after, odd, shift_ms in line:
        now_ms += 2000
        step_ms = data.draw(steps, "the PC's clock is set")
        if step_ms:
            bench.utc_ms += step_ms
            set_ms.append(now_ms)
        is_odd = bool(odd) and not was_odd
        bench.beat(now_ms, before, after, shift_ms if is_odd else 0)
        was_odd = is_odd
        now_ms += 1000
        pressed_ms = data.draw(st.floats(bench.started_ms, now_ms), "pressed")
        reckoned = bench.reckon(pressed_ms, now_ms)
        assert reckoned.uncertainty_ms is not None
        assert bench.error_ms(reckoned, pressed_ms) <= reckoned.uncertainty_ms
        assert reckoned.clock_jumped or not any(moment > pressed_ms + reckoned.uncertainty_ms for moment in set_ms)
        assert set_ms or not reckoned.clock_jumped


@settings(max_examples=12)
@given(drifts, st.sampled_from([40, 90, 200, 400]))
def test_a_watched_clock_is_known_well_also_for_presses_before_it_was_watched(drift: float, count: int) -> None:
    bench = Bench(drift, 0)
    begin_ms = 3_600_000.0
    bench.meet(begin_ms)
    for number in range(1, count):
        bench.beat(begin_ms + 2000 * number, 3, 3)
    now_ms = begin_ms + 2000 * count
    assert len(bench.clock._samples) <= KEPT
    live = bench.reckon(now_ms - 100, now_ms)
    assert live.quality == "fitted"
    assert live.uncertainty_ms is not None
    assert live.uncertainty_ms <= 15  # round trips of 6 to 10 ms, whole milliseconds
    early = bench.reckon(1000, now_ms)
    assert early.uncertainty_ms is not None
    # a clock that is only met is known to 200 ppm of an hour, which is 720 ms
    assert early.uncertainty_ms < (720 if count < 200 else 200)


def test_a_device_that_was_on_before_the_pc_is_reckoned_from_its_ticks_and_another_boot_is_not() -> None:
    bench = Bench(150e-6, 0)
    bench.meet(8 * 3_600_000.0)
    offline = bench.reckon(3_600_000.0, 8 * 3_600_000.0 + 50)
    assert (offline.quality, offline.clock_jumped) == ("estimated", False)
    assert offline.uncertainty_ms is not None
    assert bench.error_ms(offline, 3_600_000.0) <= offline.uncertainty_ms < 6_000
    now = bench.instant(8 * 3_600_000.0)
    assert bench.clock.reckon(DEVICE, written(5000, BOOT - 1), now) == UNKNOWN
    assert bench.clock.reckon("PJ-0002", written(5000), now) == UNKNOWN


def test_a_clock_set_by_a_day_moves_what_comes_after_and_flags_what_was_pressed_before() -> None:
    bench = Bench(0, 0)
    bench.meet(10_000)
    for number in range(20):
        bench.beat(12_000 + 2000 * number, 2, 2)
    before = bench.reckon(49_000, 50_100)
    bench.utc_ms -= DAY_MS
    across = bench.reckon(49_500, 50_500)
    bench.beat(52_000, 2, 2)
    after = bench.reckon(52_500, 52_600)
    assert [one.clock_jumped for one in (before, across, after)] == [False, True, False]
    assert all(one.at_ms is not None and one.uncertainty_ms is not None for one in (before, across, after))
    assert bench.error_ms(after, 52_500) <= 10
    assert before.at_ms is not None
    assert after.at_ms is not None
    assert before.at_ms - after.at_ms > DAY_MS - 10_000  # what was reckoned stays; order is not by time


def test_after_the_pc_slept_its_clock_is_fitted_anew() -> None:
    """The monotonic clock of some systems stands still meanwhile, and every older sample is wrong by the sleep."""
    bench = Bench(0, 0)
    bench.meet(10_000)
    for number in range(20):
        bench.beat(12_000 + 2000 * number, 2, 2)
    slept_ms = 3_600_000
    bench.started_ms -= slept_ms
    for number in range(DOUBTED):
        assert bench.clock.outliers == number
        bench.beat(60_000 + 2000 * number, 2, 2)
    reckoned = bench.reckon(67_000, 68_000)
    assert reckoned.uncertainty_ms is not None
    assert bench.error_ms(reckoned, 67_000) <= reckoned.uncertainty_ms < 20
    again = Bench(0, 0)
    again.meet(10_000)
    again.started_ms -= slept_ms
    again.meet(20_000)  # a hello is believed at once
    assert again.error_ms(again.reckon(21_000, 22_000), 21_000) < 20
