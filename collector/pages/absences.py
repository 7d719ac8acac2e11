"""The page of absences, and the same as JSON and CSV: for officers, by period, hours of service and window.

Everything is read when it is asked for; what it means is in `presence`. Added to the application by pages/app.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Query, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from pydantic import BeforeValidator

from collector.ingest.pipeline import now_ms
from collector.pages import presence
from collector.pages.live import Live
from collector.store import presence as store
from collector.store.presence import Place

MOST_SIGNED: Final = 20_000
MOST_ABSENCES: Final = 20_000
SHOWN: Final = 1000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would execute."""
_TITLES: Final = {
    "place": "窗口",
    "what_chinese": "对象",
    "reason_chinese": "情况",
    "begin": "开始",
    "end": "结束",
    "length_s": "时长（秒）",
    "within_s": "计入时段（秒）",
    "times": "次数",
    "staff": "工作人员",
    "device": "评价器",
    "note_chinese": "说明",
}
_Given = BeforeValidator(lambda value: value or None)
"""A field of a form that was left empty was not given."""
First = Annotated[date | None, _Given, Query(alias="from")]
Last = Annotated[date | None, _Given, Query(alias="to")]
Hour = Annotated[time | None, _Given, Query()]
Where = Annotated[str, Query(max_length=72, pattern=r"^[0-9A-Za-z_/-]*$")]


def add_absences(app: FastAPI, live: Live, environment: Environment) -> None:
    """Add the page and both answers to an application."""

    def found(first: date | None, last: date | None, opens: time | None, closes: time | None, place: str) -> dict[str, Any]:
        now = now_ms()
        period = _period(first, last, opens, closes, now)
        where = Place.parse(place)
        with live.connect() as connection:
            told = store.absences_in(connection, period.from_ms, period.to_ms, where, MOST_ABSENCES)
            signed = store.signed_in(connection, period.from_ms, period.to_ms, where, MOST_SIGNED)
            windows = store.windows_of(connection, where)
        items = presence.rows(told, signed, windows, period, now)
        return {
            "from": period.first.isoformat(),
            "to": period.last.isoformat(),
            "opens": period.opens.isoformat("minutes"),
            "closes": period.closes.isoformat("minutes"),
            "place": place,
            "items": items,
            "sums": presence.sums(items, period),
            "is_cut": len(signed) == MOST_SIGNED or len(told) == MOST_ABSENCES,
        }

    _add_page(app, environment, found)

    @app.get("/api/v1/absences")
    def all_absences(
        first: First = None,
        last: Last = None,
        opens: Hour = None,
        closes: Hour = None,
        place: Where = "",
    ) -> dict[str, Any]:
        """Return absences, and signed sign-ins, sign-outs and pauses, of a period in Beijing's days (today, without one).

        `opens` and `closes` are the hours of service that count, `place` is area/hall/window or the beginning of it. `sums` has the
        totals of each window; `within_ms` is what of a row lies within the hours. Absences are the windows' word, not signed.
        """
        return found(first, last, opens, closes, place)

    @app.get("/api/v1/absences.csv")
    def absences_as_csv(
        first: First = None,
        last: Last = None,
        opens: Hour = None,
        closes: Hour = None,
        place: Where = "",
    ) -> Response:
        """Return the rows as a table for a spreadsheet, times in Beijing's time."""
        answer = found(first, last, opens, closes, place)
        if answer["is_cut"]:
            raise HTTPException(
                422, "记录过多，请缩短时段或限定窗口 too many for one table: choose a shorter period, or windows"
            )
        name = f"absences-{answer['from']}-{answer['to']}.csv"
        return Response(
            _csv(answer["items"]), media_type="text/csv", headers={"content-disposition": f'attachment; filename="{name}"'}
        )


def _add_page(app: FastAPI, environment: Environment, found: Callable[..., dict[str, Any]]) -> None:
    template = environment.get_template("absences.html")

    @app.get("/absences", response_class=HTMLResponse, include_in_schema=False)
    def absences_page(
        first: First = None,
        last: Last = None,
        opens: Hour = None,
        closes: Hour = None,
        place: Where = "",
    ) -> str:
        """Show them to an officer."""
        answer = found(first, last, opens, closes, place)
        asked = {name: answer[name] for name in ("from", "to", "opens", "closes", "place")}
        return template.render(
            answer | {"items": answer["items"][:SHOWN]},
            left_out=max(0, len(answer["items"]) - SHOWN),
            csv=f"/api/v1/absences.csv?{urlencode(asked)}",
            at=_at,
            length=_length,
        )


def _period(first: date | None, last: date | None, opens: time | None, closes: time | None, now: int) -> presence.Period:
    today = datetime.fromtimestamp(now / 1000, presence.BEIJING).date()
    first = first or last or today
    last = last or max(first, today if first <= today else first)
    if not first <= last or (last - first).days >= presence.MOST_DAYS or not 1970 < first.year < 9000:
        raise HTTPException(
            422, f"时段须为 1 到 {presence.MOST_DAYS} 天 a period has 1 to {presence.MOST_DAYS} days, from before to"
        )
    opens, closes = opens or time(0), closes or time(0)
    if opens.tzinfo or closes.tzinfo or (closes != time(0) and opens >= closes):
        raise HTTPException(422, "开始时间须早于结束时间 the hours of service begin before they end, as 09:00 and 17:00")
    return presence.Period(first, last, opens, closes)


def _csv(items: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_TITLES.values())
    for item in items:
        lasted_ms = item["lasted_ms"]
        line = item | {
            "begin": _at(item["begin_ms"]),
            "end": _at(item["end_ms"]),
            "length_s": "" if lasted_ms is None else round(lasted_ms / 1000),
            "within_s": "" if item["signed"] else round(item["within_ms"] / 1000),
        }
        writer.writerow([_plain(line[name]) for name in _TITLES])
    return text.getvalue().encode("utf-8-sig")  # Excel takes it for GBK without


def _plain(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _at(ms: int | None) -> str:
    """Return a time as an officer reads it; what no calendar knows is left out."""
    try:
        return "" if ms is None else datetime.fromtimestamp(ms / 1000, presence.BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""


def _length(ms: int | None) -> str:
    """Return a length in words."""
    if ms is None:
        return ""
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} 小时 {minutes} 分"
    return f"{minutes} 分 {seconds} 秒" if minutes else f"{seconds} 秒"
