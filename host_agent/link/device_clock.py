"""When a record was written, reckoned from the device's ticks (pure).

A device stamps records with its uptime and answers each heartbeat with it. An answer is a sample: somewhere between asking and
hearing, the device's uptime was so much. Samples give the rate of its crystal against ours and, for any uptime of that boot,
bounds that the true moment lies in, as long as the crystal stays within MOST_DRIFT of ours and wanders by no more than WANDER; long
round trips only widen them. The estimate is a Theil-Sen line through the samples, kept within the bounds. A sample that cannot
be true beside the others is left out; three in a row mean that our own clock has stood still (the PC slept), and the others go.

Host times are monotonic: setting the PC's clock moves no sample. It moves the UTC that is reckoned from then on, which is flagged for
records written before; what was reckoned once is never reckoned again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from host_agent.instant import Instant
from protocol.payloads import MOST_MILLIS, Reckoned
from protocol.record import Record

MOST_DRIFT = 200e-6
WANDER = 10e-6
"""How far the rate may stray from what it was on average while it was watched: a crystal warms up and cools down."""
KEPT = 24
DOUBTED = 3
FITTED_SAMPLES = 8
FITTED_SPAN_MS = 15_000
JUMP_MS = 500
_MOST_UNCERTAINTY_MS = 0xFFFFFFFE
UNKNOWN = Reckoned(quality="unknown", clock_jumped=False)


@dataclass(frozen=True, slots=True)
class _Sample:
    uptime_ms: int
    asked_ms: float
    heard_ms: float

    @property
    def middle_ms(self) -> float:
        return (self.asked_ms + self.heard_ms) / 2


class DeviceClock:
    """The clock of the device at this window, and the PC's own as far as it was set."""

    def __init__(self) -> None:
        self._boot: tuple[str, int] | None = None
        self._samples: list[_Sample] = []
        self._doubted: deque[_Sample] = deque(maxlen=DOUBTED)
        self._rate: tuple[float, float, float] | None = None
        self._offset_ms: float | None = None
        self._jumped_ms = float("-inf")
        self.outliers = 0

    def watch(self, now: Instant) -> None:
        """Notice that the PC's clock was set, or stood still while the PC slept; call at least every second or so."""
        offset_ms = now.utc_ms - now.mono_s * 1000
        if self._offset_ms is not None and abs(offset_ms - self._offset_ms) > JUMP_MS:
            self._jumped_ms = now.mono_s * 1000
        self._offset_ms = offset_ms

    def met(self, device: str, boot: int, uptime_ms: int, asked_s: float, heard_s: float) -> None:
        """Take the answer to a hello; another boot or another device begins anew."""
        sample = _Sample(uptime_ms, asked_s * 1000, heard_s * 1000)
        if (device, boot) != self._boot or not self._fits(sample):
            self._boot = (device, boot)
            self._samples.clear()
        self._doubted.clear()
        self._add(sample)

    def heard(self, uptime_ms: int, asked_s: float, heard_s: float) -> None:
        """Take the answer to a heartbeat."""
        sample = _Sample(uptime_ms, asked_s * 1000, heard_s * 1000)
        if self._fits(sample):
            self._doubted.clear()
            self._add(sample)
            return
        self.outliers += 1
        self._doubted.append(sample)
        if len(self._doubted) == DOUBTED:
            self._samples = list(self._doubted)
            self._doubted.clear()
            self._rate = None

    def reckon(self, device: str, record: Record, now: Instant) -> Reckoned:
        """Return when a record was written, by the PC's clock as it is now."""
        if (device, record.boot) != self._boot or not self._samples:
            return UNKNOWN
        low_ms, high_ms = self._bounds(record.uptime_ms)
        high_ms += 1  # the device counts whole milliseconds
        if low_ms > high_ms:
            return UNKNOWN
        _, _, rate = self._rates()
        line_ms = median(one.middle_ms + (record.uptime_ms - one.uptime_ms) * rate for one in self._samples)
        at_ms = min(max(line_ms, low_ms), high_ms)
        utc_ms = now.utc_ms - (now.mono_s * 1000 - at_ms)
        return Reckoned(
            at_ms=min(max(0, round(utc_ms)), MOST_MILLIS),
            uncertainty_ms=min(int(max(high_ms - at_ms, at_ms - low_ms)) + 2, _MOST_UNCERTAINTY_MS),  # 2: both are rounded
            quality="fitted" if self._is_fitted() else "estimated",
            clock_jumped=at_ms < self._jumped_ms,
        )

    def ppm(self) -> int | None:
        """Return how much faster the device's clock runs than ours, parts per million; None before that is known well."""
        return round((1 / self._rates()[2] - 1) * 1e6) if self._is_fitted() else None

    # --- inside ----------------------------------------------------------------------------------------------

    def _is_fitted(self) -> bool:
        """Tell whether the device's rate is known well."""
        samples = self._samples
        return len(samples) >= FITTED_SAMPLES and samples[-1].uptime_ms - samples[0].uptime_ms >= FITTED_SPAN_MS

    def _fits(self, sample: _Sample) -> bool:
        if not self._samples:
            return True
        if sample.uptime_ms < self._samples[-1].uptime_ms:
            return False
        low_ms, high_ms = self._bounds(sample.uptime_ms)
        return sample.asked_ms - 1 <= high_ms and low_ms <= sample.heard_ms

    def _bounds(self, uptime_ms: int) -> tuple[float, float]:
        """Return between which host times the device's uptime was that; the lower one is higher when samples contradict."""
        slowest, fastest, _ = self._rates()
        low_ms, high_ms = float("-inf"), float("inf")
        for one in self._samples:
            passed_ms = uptime_ms - one.uptime_ms
            shortest, longest = sorted((passed_ms * slowest, passed_ms * fastest))
            # 1: what the device called `uptime_ms` may have been almost the next millisecond
            low_ms = max(low_ms, one.asked_ms - 1 + shortest)
            high_ms = min(high_ms, one.heard_ms + longest)
        return low_ms, high_ms

    def _rates(self) -> tuple[float, float, float]:
        """Return the slowest and the fastest rate that the samples allow, in our milliseconds for one of its, and the likely one."""
        if self._rate is None:
            slowest, fastest = 1 - MOST_DRIFT, 1 + MOST_DRIFT
            slopes: list[float] = []
            for at, later in enumerate(self._samples):
                for earlier in self._samples[:at]:
                    passed_ms = later.uptime_ms - earlier.uptime_ms
                    if passed_ms > 0:
                        slopes.append((later.middle_ms - earlier.middle_ms) / passed_ms)
                        slowest = max(slowest, (later.asked_ms - 1 - earlier.heard_ms) / passed_ms - WANDER)
                        fastest = min(fastest, (later.heard_ms - earlier.asked_ms + 1) / passed_ms + WANDER)
            if slowest > fastest:  # they contradict each other: nothing but the limit is known
                slowest, fastest = 1 - MOST_DRIFT, 1 + MOST_DRIFT
            self._rate = slowest, fastest, min(max(median(slopes) if slopes else 1.0, slowest), fastest)
        return self._rate

    def _add(self, sample: _Sample) -> None:
        """Keep the sample, and of two that are close together the one with the shorter round trip."""
        self._rate = None
        samples = self._samples
        samples.append(sample)
        if len(samples) > KEPT:
            at = min(range(1, len(samples) - 1), key=lambda n: samples[n].uptime_ms - samples[n - 1].uptime_ms)
            pair = (at - 1, at) if at > 1 else (at,)  # the first one gives the rate its span
            del samples[max(pair, key=lambda n: samples[n].heard_ms - samples[n].asked_ms)]
