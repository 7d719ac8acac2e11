"""What an officer is shown of absences: lengths, sums within the hours of service, and what nobody can tell."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime, time
from typing import Any

import pytest

from collector.ingest.core import Message
from collector.pages import absences as page
from collector.pages.presence import BEIJING, Period
from protocol.payloads import Absence, DeviceState, State
from protocol.record import Kind
from protocol.topics import Up
from tests.chains import EPOCH_MS, WINDOW, PaperDevice
from tests.databases import Opened
from tests.unit.collector.test_pages import Site

DAY = date(2026, 5, 8)
MINUTE_MS = 60_000
MIDNIGHT_MS = Period(DAY, DAY).from_ms
_ids = iter(range(1, 1000))


def at(hour: int, minute: int = 0) -> int:
    return MIDNIGHT_MS + (hour * 60 + minute) * MINUTE_MS


def absence(begin_ms: int, minutes: int | None, what: str = "device", **more: Any) -> Absence:
    """An absence of so many minutes; one that lasts without."""
    said: dict[str, Any] = {"id": f"{next(_ids):032x}", "what": what, "device": "PJ-0001", "staff": "017", "times": 1}
    said |= {"reason": "unplugged" if what == "device" else "killed", "begin_ms": begin_ms, "measured": minutes is not None}
    if minutes is not None:
        said |= {"end_ms": begin_ms + minutes * MINUTE_MS, "lasted_ms": minutes * MINUTE_MS}
    return Absence(**(said | more))


class Officer(Site):
    """Looks at a page at some time."""

    def __init__(self, store: Opened, patch: pytest.MonkeyPatch) -> None:
        super().__init__(store)
        self._patch = patch
        self.is_now(at(18))

    def is_now(self, ms: int) -> None:
        self._patch.setattr(page, "now_ms", lambda: ms)

    def told(self, *said: Absence, at_ms: int = 0) -> None:
        self.ingest.take([Message(WINDOW.up(Up.ABSENCE), one.to_json()) for one in said], at_ms or at(18))

    def state(self, at_ms: int, device: str | None, *, online: bool = True) -> None:
        there = DeviceState(device=device, firmware="1", boot=1, release_on_ack=False) if device else None
        said = State(session="1" * 32, online=online, since_ms=1, agent="1", device=there)
        self.ingest.take([Message(WINDOW.up(Up.STATE), said.to_json())], at_ms)

    def sees(self, query: str = "") -> tuple[list[dict[str, Any]], dict[str, Any]]:
        answer = self.get(f"/api/v1/absences?from={DAY}&to={DAY}{query}").json()
        (total,) = answer["sums"] or [{}]
        return answer["items"], total


@pytest.fixture
def officer(store: Opened, monkeypatch: pytest.MonkeyPatch) -> Officer:
    return Officer(store, monkeypatch)


def minutes(total: dict[str, Any]) -> tuple[float, ...]:
    return tuple(total[name] / MINUTE_MS for name in ("device_ms", "agent_ms", "absent_ms"))


def test_sums_are_within_the_hours_of_service_and_count_nothing_twice(officer: Officer) -> None:
    officer.told(
        absence(at(8, 30), 60),
        absence(at(9, 20), 30, "agent"),
        absence(at(12), 10),
        absence(at(16, 50), 120, "agent"),
        absence(at(20), 30),
        absence(at(-48), 60),
    )
    items, total = officer.sees("&opens=09:00&closes=17:00")
    assert len(items) == 5
    assert minutes(total) == (30 + 10, 30 + 10, 50 + 10 + 10)
    assert [round(item["within_ms"] / MINUTE_MS) for item in items] == [30, 30, 10, 10, 0]
    _, whole_day = officer.sees()
    assert minutes(whole_day) == (100, 150, 80 + 10 + 120 + 30 - 0)


def test_one_that_goes_over_midnight_is_in_both_days(officer: Officer) -> None:
    officer.told(absence(at(-1), 120, "agent"))
    items, total = officer.sees()
    assert len(items) == 1
    assert minutes(total) == (0, 60, 60)


def test_a_length_that_was_measured_counts_and_not_the_clock(officer: Officer) -> None:
    officer.told(absence(at(9), 10, end_ms=at(23)), absence(at(11), 0, "agent", lasted_ms=None, measured=False))
    (first, second), total = officer.sees()
    assert (first["note"], second["note"]) == ("clock_set", "unknown_length")
    assert minutes(total) == (10, 0, 10)


def test_one_that_lasts_counts_as_far_as_anybody_knows(officer: Officer) -> None:
    officer.state(at(17, 59), None)
    officer.told(absence(at(16), None))
    (item,), total = officer.sees()
    assert (item["note"], minutes(total), total["lasts"]) == ("lasts", (120, 0, 120), True)
    officer.is_now(at(19))  # nothing was heard for an hour
    (item, now), total = officer.sees()
    assert (item["note"], now["reason"], now["note"]) == ("agent_silent", "no_contact", "uncounted")
    assert minutes(total) == (119, 0, 119)
    officer.state(at(19), "PJ-0001")  # of a new database: it knows nothing of that absence
    (item,), total = officer.sees()
    assert (item["note"], minutes(total)) == ("end_untold", (0, 0, 0))


def test_of_two_that_last_only_the_later_one_can(officer: Officer) -> None:
    officer.state(at(17, 59), None)
    officer.told(absence(at(10), None), absence(at(17), None))
    items, total = officer.sees()
    assert [item["note"] for item in items] == ["end_untold", "lasts"]
    assert minutes(total) == (60, 0, 60)


def test_what_the_device_has_signed_stands_between_them_and_is_called_signed(officer: Officer) -> None:
    device = PaperDevice()  # one record each second
    kinds = (Kind.BOOT, Kind.SIGN_IN, Kind.PAUSED, Kind.RESUMED, Kind.RATING, Kind.SIGN_OUT)
    officer.take(device, *[device.write(kind) for kind in kinds])
    officer.told(absence(EPOCH_MS + 3500, 5))
    day = datetime.fromtimestamp(EPOCH_MS / 1000, BEIJING).date()
    answer = officer.get(f"/api/v1/absences?from={day}&to={day}").json()
    assert [(item["reason"], item["signed"]) for item in answer["items"]] == [
        ("sign_in", True),
        ("paused", True),
        ("unplugged", False),
        ("resumed", True),
        ("sign_out", True),
    ]
    assert "其他" in answer["items"][1]["reason_chinese"]
    assert minutes(answer["sums"][0]) == (5, 0, 5)


def test_the_page_and_the_table_say_the_same_and_execute_nothing(officer: Officer) -> None:
    officer.told(absence(at(9), 90, staff="=1+1<b>", times=3))
    text = officer.get(f"/absences?from={DAY}&to={DAY}&opens=08:00&closes=&place=").text
    for word in ("拔线或串口故障", "2026-05-08 09:00:00", "1 小时 30 分", "3 次", "=1+1&lt;b&gt;", WINDOW.path):
        assert word in text
    answer = officer.get(f"/api/v1/absences.csv?from={DAY}&to={DAY}")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    titles, line = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")))
    row = dict(zip(titles, line, strict=True))
    assert (row["窗口"], row["开始"], row["时长（秒）"], row["工作人员"]) == (
        WINDOW.path,
        "2026-05-08 09:00:00",
        "5400",
        "'=1+1<b>",
    )


def test_more_than_one_answer_holds_is_said_and_no_table_is_cut_silently(
    officer: Officer, monkeypatch: pytest.MonkeyPatch
) -> None:
    officer.told(absence(at(9), 1), absence(at(10), 1))
    assert not officer.get(f"/api/v1/absences?from={DAY}").json()["is_cut"]
    monkeypatch.setattr(page, "MOST_ABSENCES", 1)
    answer = officer.get(f"/api/v1/absences?from={DAY}").json()
    assert (answer["is_cut"], len(answer["items"])) == (True, 1)
    assert "合计不全" in officer.get(f"/absences?from={DAY}").text
    refused = officer.get(f"/api/v1/absences.csv?from={DAY}")
    assert (refused.status_code, "choose a shorter period" in refused.text) == (422, True)


@pytest.mark.parametrize("place", ["533103", "533103/dating", WINDOW.path])
def test_a_place_is_the_beginning_of_a_window(officer: Officer, place: str) -> None:
    officer.told(absence(at(9), 5))
    assert len(officer.sees(f"&place={place}")[0]) == 1
    assert officer.sees("&place=533103/elsewhere")[0] == []


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-05-09&to=2026-05-08",
        "from=2020-01-01&to=2026-05-08",
        "opens=17:00&closes=09:00",
        "from=x",
        "place='",
        "from=0001-01-01&to=0001-01-02",
        "opens=09:00Z",
    ],
)
def test_nonsense_is_refused(officer: Officer, query: str) -> None:
    for path in ("/absences", "/api/v1/absences", "/api/v1/absences.csv"):
        assert officer.get(f"{path}?{query}").status_code == 422


def test_without_a_period_it_is_today_and_numbers_beyond_any_calendar_do_no_harm(officer: Officer) -> None:
    most = (1 << 63) - 1
    officer.told(absence(0, None), absence(at(9), 5, lasted_ms=most, end_ms=most), absence(most, None))
    answer = officer.get("/api/v1/absences").json()
    assert (answer["from"], answer["to"]) == (str(DAY), str(DAY))
    assert len(answer["items"]) == 2
    assert officer.get("/absences").status_code == 200
    assert officer.get("/api/v1/absences.csv").status_code == 200


def test_a_period_names_its_hours() -> None:
    period = Period(DAY, DAY, time(9), time(17))
    assert period.hours() == [(at(9), at(17))]
