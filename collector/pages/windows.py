"""The page of windows: how each of them is now, what needs somebody first; and the same as JSON.

What agents and devices say of themselves is unsigned: for people to look at, nothing is decided by it. Added to the application by
pages/app.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from collector.ingest.pipeline import now_ms
from collector.ingest.windows import SILENT_MS
from collector.pages.live import Live
from collector.store import condition

MOST_AHEAD_MS: Final = 5000
LONG_MS: Final = 3_600_000
"""What has waited for so long should have had its receipt."""
_CONDITIONS: Final = {
    "journal_full": ("存储已满", "its journal is full"),
    "journal_fault": ("存储故障", "its flash fails"),
    "key_stuck": ("按键卡住", "a key is stuck"),
    "receipt_refused": ("拒绝回执，密钥可能不符", "it refuses a receipt: is its key the hall's?"),
}
"""Those that need somebody; a pause does not."""


def add_windows(app: FastAPI, live: Live, environment: Environment) -> None:
    """Add the page and its answer to an application."""
    template = environment.get_template("windows.html")

    def found() -> list[dict[str, Any]]:
        now = now_ms()
        with live.connect() as connection:
            lines = [line_of(window, now) for window in condition.windows_now(connection)]
        return sorted(lines, key=lambda line: (not line["troubles"], line["place"]))

    @app.get("/api/v1/windows")
    def all_windows() -> dict[str, Any]:
        """Return every window ever heard, with what is wrong there; those with trouble first. It is the windows' word."""
        return {"items": found()}

    @app.get("/windows", response_class=HTMLResponse, include_in_schema=False)
    def windows_page() -> str:
        """Show them."""
        items = found()
        return template.render(items=items, troubled=sum(bool(item["troubles"]) for item in items), length=_length)


def line_of(window: dict[str, Any], now: int) -> dict[str, Any]:
    """Return a window with what is wrong there, as pairs of Chinese and English."""
    is_heard = bool(window["online"]) and now - window["heard_ms"] <= SILENT_MS
    health = (window["health"] if window["device"] is not None else None) or {}
    troubles = []
    if not window["online"]:
        troubles.append(("代理未运行", "its agent does not run"))
    elif not is_heard:
        troubles.append(("失联，请检查电脑和网络", "nothing is heard of it: check PC and network"))
    elif window["device"] is None:
        troubles.append(("无评价器，请检查连线", "no device: check the cable"))
    if is_heard:
        troubles += [words for name, words in _CONDITIONS.items() if name in health.get("conditions", [])]
        if abs(health.get("clock_ahead_ms") or 0) > MOST_AHEAD_MS:
            troubles.append(("评价器时钟不准", "its device's clock is off"))
        if (window["oldest_waiting_ms"] or 0) > LONG_MS:
            troubles.append(("评价久未归集", "ratings have waited for long"))
    shown = ("place", "window", "device", "firmware", "agent", "heard_ms", "since_ms", "waiting_device", "waiting_agent")
    return {name: window[name] for name in shown} | {
        "is_heard": is_heard,
        "heard_ago_ms": max(0, now - window["heard_ms"]),
        "journal_free": window["journal_free"] if health else None,
        "paused": "paused" in health.get("conditions", []),
        "health": health or None,
        "troubles": [{"chinese": chinese, "english": english} for chinese, english in troubles],
    }


def _length(millis: int) -> str:
    """Return how long ago something was, or has been going on."""
    passed = timedelta(milliseconds=min(millis, 10**14))
    if passed < timedelta(minutes=1):
        return f"{passed.seconds} 秒"
    if passed < timedelta(hours=1):
        return f"{passed.seconds // 60} 分"
    return f"{passed.seconds // 3600} 小时" if passed < timedelta(days=1) else f"{passed.days} 天"
