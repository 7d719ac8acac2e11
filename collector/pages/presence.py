"""What stands on the page of absences: rows by time, and sums for each window, of a period and the hours of service in it (pure).

An absence counts from its beginning by the PC's clock, as long as it lasted. One whose end nobody has told counts as far as anybody
knows: to now while its agent is heard and says that there is no device, to when that agent was last heard, or not at all when
the agent has said meanwhile that a device is there. A window of which nothing is heard is shown and not counted: whether its agent
is down or the network is, its agent tells when it is back. Whoever was absent twice at a time was absent once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final

from collector.ingest.windows import SILENT_MS
from protocol.messages import PauseReason

BEIJING: Final = timezone(timedelta(hours=8))
MOST_DAYS: Final = 92
Span = tuple[int, int]

_WHAT = {"device": "评价器", "agent": "代理程序", "signed": "评价器签名"}
_REASONS = {
    "missing": ("启动后未找到评价器", "not found since the agent's start"),
    "unplugged": ("拔线或串口故障", "unplugged, or the port failed"),
    "silent": ("无应答", "does not answer"),
    "refused": ("协议版本不符", "no common protocol version"),
    "stopped": ("正常停止或关机", "stopped in order"),
    "killed": ("异常中断：被杀、崩溃或断电", "ended without a stop: kill, crash or power cut"),
    "slept": ("电脑休眠或程序停顿", "the PC slept, or the program stood still"),
    "no_contact": ("联系中断", "nothing is heard of this window"),
    "sign_in": ("签到", "signed in"),
    "sign_out": ("签退", "signed out"),
    "paused": ("暂停服务", "paused"),
    "resumed": ("恢复服务", "resumed"),
}
_PAUSES = {
    PauseReason.OTHER: "其他",
    PauseReason.BREAK: "休息",
    PauseReason.MEETING: "开会",
    PauseReason.SYSTEM_FAULT: "系统故障",
}
_NOTES = {
    "lasts": ("持续中", "lasts"),
    "agent_silent": ("窗口失联，此后情况不明", "the window is no longer heard; what was since is not known"),
    "end_untold": ("结束时间未上报，不计入", "its end was never told; not counted"),
    "uncounted": ("恢复后由窗口补报，暂不计入", "told by the window when it is back; not counted yet"),
    "clock_set": ("期间电脑时钟被改，时长以计时为准", "the PC's clock was set meanwhile; the length was measured"),
    "unknown_length": ("电脑时钟被改，时长不明", "the PC's clock was set back; the length is not known"),
    "by_clock": ("按电脑时钟", "by the PC's clock"),
    "unsure_clock": ("评价器时间不准", "the device's time is not sure"),
}
_CLOCK_SET_MS = 2000


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in Beijing's time, and of each day the hours of service."""

    first: date
    last: date
    opens: time = time(0)
    closes: time = time(0)
    """Midnight: the end of the day."""

    @property
    def from_ms(self) -> int:
        """When the first day begins."""
        return _millis(self.first, time(0))

    @property
    def to_ms(self) -> int:
        """When the last day is over."""
        return _millis(self.last + timedelta(days=1), time(0))

    def hours(self) -> list[Span]:
        """Return the hours of service of every day, in order."""
        days = ((self.first + timedelta(days=n)) for n in range((self.last - self.first).days + 1))
        return [
            (
                _millis(day, self.opens),
                _millis(day, self.closes) if self.closes != time(0) else _millis(day + timedelta(1), time(0)),
            )
            for day in days
        ]


def rows(
    absences: Iterable[dict[str, Any]],
    signed: Iterable[dict[str, Any]],
    windows: Iterable[dict[str, Any]],
    period: Period,
    now_ms: int,
) -> list[dict[str, Any]]:
    """Return everything of a period, by window and then by time."""
    known = {_place(one): one for one in windows}
    told = list(absences)
    latest = {_place(one): one["id"] for one in told if one["what"] == "device"}
    shown = [_absence(one, known.get(_place(one)), latest.get(_place(one)) == one["id"], now_ms) for one in told]
    shown += [_signed(one) for one in signed]
    if period.from_ms <= now_ms < period.to_ms:
        shown += [_no_contact(one) for one in known.values() if not _is_heard(one, now_ms)]
    hours = period.hours()
    for row in shown:
        row["within_ms"] = _length(_cut([(row["begin_ms"], row["counts_to_ms"])], hours))
    return sorted(shown, key=lambda row: (row["place"], row["begin_ms"]))


def sums(shown: Iterable[dict[str, Any]], period: Period) -> list[dict[str, Any]]:
    """Return for each window how long it was without device, without agent, and without either, within the hours of service."""
    hours = period.hours()
    spans: dict[str, dict[str, list[Span]]] = {}
    lasting: set[str] = set()
    for row in shown:
        if row["what"] != "signed":
            here = spans.setdefault(row["place"], {"device": [], "agent": []})
            here[row["what"]].append((row["begin_ms"], row["counts_to_ms"]))
            if row["end_ms"] is None:
                lasting.add(row["place"])
    return [
        {
            "place": place,
            "device_ms": _length(_cut(here["device"], hours)),
            "agent_ms": _length(_cut(here["agent"], hours)),
            "absent_ms": _length(_cut(here["device"] + here["agent"], hours)),
            "lasts": place in lasting,
        }
        for place, here in sorted(spans.items())
    ]


# --- rows --------------------------------------------------------------------------------------------------------


def _absence(one: dict[str, Any], window: dict[str, Any] | None, is_latest: bool, now_ms: int) -> dict[str, Any]:
    begin_ms, end_ms, lasted_ms = one["begin_ms"], one["end_ms"], one["lasted_ms"]
    if end_ms is not None:
        note: str | None = None
        counts_to_ms = begin_ms + (lasted_ms or 0)
        if lasted_ms is None:
            note = "unknown_length"
        elif not one["measured"]:
            note = "by_clock"
        elif abs(end_ms - begin_ms - lasted_ms) > _CLOCK_SET_MS:
            note = "clock_set"
    elif not is_latest or window is None:
        counts_to_ms, note = begin_ms, "end_untold"
    elif not _is_heard(window, now_ms):
        counts_to_ms, note = window["heard_ms"], "agent_silent"
    elif window["device"] is not None:
        counts_to_ms, note = begin_ms, "end_untold"
    else:
        counts_to_ms, note = now_ms, "lasts"
    more = {name: one[name] for name in ("device", "staff", "end_ms", "lasted_ms", "times")}
    return _row(one, one["what"], one["reason"], begin_ms, note) | more | {"counts_to_ms": max(begin_ms, counts_to_ms)}


def _signed(one: dict[str, Any]) -> dict[str, Any]:
    note = None if one["quality"] in ("synchronised", "free_running") else "unsure_clock"
    row = _row(one, "signed", one["kind"], one["utc_ms"], note) | {"device": one["device"], "staff": one["staff"]}
    if one["kind"] == "paused" and one["detail"] in set(PauseReason):
        row["reason_chinese"] += f"（{_PAUSES[PauseReason(one['detail'])]}）"
    return row


def _no_contact(window: dict[str, Any]) -> dict[str, Any]:
    return _row(window, "agent", "no_contact", window["heard_ms"], "uncounted") | {"device": window["device"]}


def _row(one: dict[str, Any], what: str, reason: str, begin_ms: int, note: str | None) -> dict[str, Any]:
    chinese, english = _REASONS[reason]
    note_chinese, note_english = _NOTES[note] if note else ("", "")
    return {
        "place": _place(one),
        "window": one["window"],
        "what": what,
        "what_chinese": _WHAT[what],
        "reason": reason,
        "reason_chinese": chinese,
        "reason_english": english,
        "device": None,
        "staff": None,
        "begin_ms": begin_ms,
        "end_ms": None,
        "lasted_ms": None,
        "counts_to_ms": begin_ms,
        "times": 1,
        "signed": what == "signed",
        "note": note,
        "note_chinese": note_chinese,
        "note_english": note_english,
    }


def _place(one: dict[str, Any]) -> str:
    return f"{one['area']}/{one['hall']}/{one['window']}"


def _is_heard(window: dict[str, Any], now_ms: int) -> bool:
    return bool(window["online"]) and now_ms - window["heard_ms"] <= SILENT_MS


# --- spans -------------------------------------------------------------------------------------------------------


def _cut(spans: Iterable[Span], hours: Sequence[Span]) -> list[Span]:
    """Return what of the spans, taken together, lies within the hours."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return [
        (max(begin, opens), min(end, closes))
        for begin, end in merged
        for opens, closes in hours
        if begin < closes and opens < end
    ]


def _length(spans: Iterable[Span]) -> int:
    return sum(end - begin for begin, end in spans)


def _millis(day: date, at: time) -> int:
    return int(datetime.combine(day, at, BEIJING).timestamp() * 1000)
