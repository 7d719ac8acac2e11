"""When the window had no working device, and when this agent did not run (pure).

Fed with what the agent sees, in any order; what comes out is to be made durable (`due`, `stored`), and nothing of it is lost with
the process. The clock that is handed in goes on while the PC sleeps: lengths are measured by it where one run has seen both ends,
and a PC clock that is set meanwhile falsifies none. What has come back for less than STEADY_S has not come back: its absence goes
on and counts, so that a port that fails every second is one absence and not thousands. While very many wait for the collection,
that is STEADY_MANY_S.

That this agent did not run is known afterwards only: from its last sign of life, which is written every minute, with every change
and when it is stopped. Its first start ever, and one with a new database, has nothing to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from host_agent.instant import Instant
from protocol.payloads import MOST_MILLIS, Absence

Reason = Literal["missing", "unplugged", "silent", "refused", "stopped", "killed", "slept"]

STEADY_S: Final = 10.0
STEADY_MANY_S: Final = 600.0
MANY: Final = 1000
GRACE_S: Final = 10.0
"""So long after a start a device may take to be found, and counts as there."""
STOOD_STILL_S: Final = 15.0
"""The agent looks at the clock at least every WATCH_S; when that took so long, it did not run."""
WATCH_S: Final = 5.0
SIGN_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: when by the PC's clock, whether it was the last one of an agent that was stopped, and who was here."""

    at_ms: int
    stopped: bool
    staff: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """An absence as it is to be stored: one that is not over yet has the end that it would have had by now."""

    said: Absence
    is_over: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What has to be made durable together; `is_news` when an absence began or is over."""

    absences: tuple[Kept, ...]
    sign: Sign
    is_news: bool


class _Track:
    """Who can be absent: the absence that lasts, if any, and since when its end is believed."""

    def __init__(self, said: Absence | None) -> None:
        self.said = said
        self.is_new = False
        self._began: Instant | None = None
        """None where another run has seen it begin."""
        self._returned: Instant | None = None

    def lost(self, begin: Instant | None, said: Callable[[], Absence]) -> None:
        """Begin an absence, or have the one go on whose end was not believed yet."""
        if self.said is None:
            self.said, self._began, self.is_new = said(), begin, True
        elif self._returned is not None:
            self.said = self.said.model_copy(update={"times": self.said.times + 1})
        self._returned = None

    def back(self, at: Instant) -> None:
        """Note the return; `ended` believes it later."""
        if self._returned is None:
            self._returned = at

    def ended(self, at: Instant, steady_s: float) -> Absence | None:
        """Return the absence if it is over by now; it is then no longer here."""
        if self.said is None or self._returned is None or at.mono_s - self._returned.mono_s < steady_s:
            return None
        said, self.said = self.until(at), None
        return said

    def until(self, at: Instant) -> Absence:
        """Return the absence with the end that it has by now."""
        assert self.said is not None  # noqa: S101  # the callers have looked
        end, begin_ms = self._returned or at, self.said.begin_ms
        by_clock_ms = end.utc_ms - begin_ms
        if self._began is not None:
            lasted_ms: int | None = max(0, round((end.mono_s - self._began.mono_s) * 1000))
        else:
            lasted_ms = by_clock_ms if by_clock_ms >= 0 else None
        return self.said.model_copy(
            update={
                "end_ms": begin_ms + max(0, by_clock_ms),
                "lasted_ms": lasted_ms,
                "measured": self._began is not None,
            }
        )

    def deadline_s(self, steady_s: float) -> float:
        """Return when `ended` may have something to say."""
        return float("inf") if self.said is None or self._returned is None else self._returned.mono_s + steady_s


class Absences:
    """One run of the agent at its window; `sign` and `kept` are what the runs before it have left."""

    def __init__(
        self, sign: Sign | None, kept: Iterable[Absence], entropy: Callable[[int], bytes], staff: Callable[[], str | None]
    ) -> None:
        self._over: list[Absence] = []
        left: dict[str, Absence] = {}
        for said in kept:
            if said.what in left:  # only a damaged database has two
                self._over.append(left[said.what])
            left[said.what] = said
        self._entropy = entropy
        self._staff = staff
        self._sign = sign
        self._agent = _Track(left.get("agent"))
        # a run before this one that did not last has proved nothing: what was absent then still is
        device = left.get("device")
        self._device = _Track(device if self._agent.said is not None else None)
        if device is not None and self._agent.said is None:
            self._over.append(device)
        self._name = sign.device if sign is not None else None
        self._started: Instant | None = None
        self._last = Instant(0.0, 0)
        self._has_met = False
        self._sign_s = 0.0
        self._steady_s = STEADY_S

    # --- what the agent sees -----------------------------------------------------------------------------------

    def watch(self, at: Instant) -> None:
        """Notice the start, and that the PC has slept; call at least every WATCH_S."""
        if self._started is None:
            self._started = at
            if self._sign is not None:
                sign = self._sign
                reason: Reason = "stopped" if sign.stopped else "killed"
                self._agent.back(at)  # of a run before this one: it goes on
                self._agent.lost(None, lambda: self._new("agent", reason, sign.at_ms, sign.staff))
                self._agent.back(at)
        elif at.mono_s - self._last.mono_s > STOOD_STILL_S:
            since = self._last
            self._believe(since)
            self._agent.lost(since, lambda: self._new("agent", "slept", since.utc_ms, self._staff()))
            self._agent.back(at)
        self._last = at
        self._believe(at)
        if not self._has_met and at.mono_s - self._started.mono_s > GRACE_S:
            self._begin("missing", self._started)

    def lost(self, reason: Reason, at: Instant) -> None:
        """The device is gone; of several reasons in a row the first one is kept."""
        self.watch(at)
        self._begin(reason, at if self._has_met else self._started or at)

    def met(self, device: str, at: Instant) -> None:
        """A device has said who it is, and records can flow."""
        self.watch(at)
        self._has_met, self._name = True, device
        self._device.back(at)

    # --- what is to be made durable ----------------------------------------------------------------------------

    def due(self, at: Instant, waiting: Callable[[], int]) -> Change | None:
        """Return what has to be stored now; the same until `stored`. `waiting` counts what waits for the collection."""
        self.watch(at)
        tracks = (self._device, self._agent)
        if any(track.said is not None for track in tracks):
            self._steady_s = STEADY_S if waiting() < MANY else STEADY_MANY_S
            self._believe(at)
        is_news = bool(self._over) or any(track.is_new for track in tracks)
        return self._change(at, is_news=is_news, stopped=False) if is_news or at.mono_s >= self._sign_s else None

    def stopped(self, at: Instant) -> Change:
        """Return what has to be stored when the agent is stopped."""
        self.watch(at)
        return self._change(at, is_news=True, stopped=True)

    def stored(self, change: Change, at: Instant) -> None:
        """What `due` returned is durable."""
        del self._over[: sum(one.is_over for one in change.absences)]
        self._device.is_new = self._agent.is_new = False
        self._sign_s = at.mono_s + SIGN_EVERY_S

    def deadline_s(self) -> float:
        """Return the monotonic time by which `due` must be called."""
        ends_s = min(track.deadline_s(self._steady_s) for track in (self._device, self._agent))
        return min(self._last.mono_s + WATCH_S, ends_s)

    # --- inside ------------------------------------------------------------------------------------------------

    def _believe(self, at: Instant) -> None:
        """Take what has been back for long enough for back: before anything that happens later is looked at."""
        self._over += [said for track in (self._device, self._agent) if (said := track.ended(at, self._steady_s)) is not None]

    def _begin(self, reason: Reason, since: Instant) -> None:
        self._device.lost(since, lambda: self._new("device", reason, since.utc_ms, self._staff()))

    def _new(self, what: Literal["device", "agent"], reason: Reason, begin_ms: int, staff: str | None) -> Absence:
        return Absence(
            id=self._entropy(16).hex(),
            what=what,
            reason=reason,
            device=self._name,
            staff=staff[:16] if staff else None,
            begin_ms=min(max(0, begin_ms), MOST_MILLIS),
            measured=False,
            times=1,
        )

    def _change(self, at: Instant, *, is_news: bool, stopped: bool) -> Change:
        over = [Kept(said, is_over=True) for said in self._over]
        lasting = [Kept(track.until(at), is_over=False) for track in (self._device, self._agent) if track.said is not None]
        before = self._sign.staff if self._sign is not None and not self._has_met else None
        return Change((*over, *lasting), Sign(at.utc_ms, stopped, self._staff() or before, self._name), is_news)
