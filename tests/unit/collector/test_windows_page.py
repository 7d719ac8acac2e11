"""The page of windows: what needs somebody is named and comes first, and nothing is claimed of a window that is not heard."""

from __future__ import annotations

from typing import Any

import pytest

from collector.ingest.core import Message
from collector.ingest.windows import SILENT_MS
from collector.pages import windows as page
from protocol.payloads import DeviceHealth, DeviceState, Health, State
from protocol.topics import Up, Window
from tests.chains import EPOCH_MS
from tests.databases import Opened
from tests.unit.collector.test_pages import Site

SESSION = "1" * 32
NOW_MS = EPOCH_MS + 1_000_000
GOOD: dict[str, Any] = {
    "uptime_ms": 7_200_000,
    "conditions": [],
    "clock_ahead_ms": -3,
    "clock_ppm": 12,
    "bad_frames": 0,
    "resent": 0,
}


class Bureau(Site):
    """Looks at the windows."""

    def state(self, window: str, device: str | None = "PJ-0001", *, online: bool = True, at_ms: int = NOW_MS) -> None:
        there = DeviceState(device=device, firmware="1.2", boot=1, release_on_ack=False) if device else None
        said = State(session=SESSION, online=online, since_ms=1, agent="1", device=there)
        self.ingest.take([Message(Window("533103", "dating", window).up(Up.STATE), said.to_json())], at_ms)

    def health(self, window: str, waited_ms: int | None = None, **device: Any) -> None:
        said = Health(
            session=SESSION, at_ms=1, journal_waiting=2, journal_free=500, outbox_to_send=1, outbox_sent=3,
            oldest_waiting_ms=waited_ms, device=DeviceHealth(**(GOOD | device)),
        )  # fmt: skip  # one line for each would be nine
        self.ingest.take([Message(Window("533103", "dating", window).up(Up.HEALTH), said.to_json())], NOW_MS)

    def items(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/windows").json()["items"]
        return found

    def troubles(self) -> list[str]:
        (item,) = self.items()
        return [trouble["english"] for trouble in item["troubles"]]


@pytest.fixture
def bureau(store: Opened, monkeypatch: pytest.MonkeyPatch) -> Bureau:
    monkeypatch.setattr(page, "now_ms", lambda: NOW_MS + 5000)
    return Bureau(store)


def test_what_needs_somebody_comes_first(bureau: Bureau) -> None:
    for window in ("01", "02", "03"):
        bureau.state(window)
        bureau.health(window)
    bureau.state("02", None)
    bureau.health("03", conditions=["paused"])
    assert [(item["window"], len(item["troubles"])) for item in bureau.items()] == [("02", 1), ("01", 0), ("03", 0)]
    second, first, third = bureau.items()
    assert (first["waiting_device"], first["waiting_agent"], first["journal_free"]) == (2, 4, 500)
    assert first["health"] == GOOD
    assert (second["health"], second["journal_free"]) == (None, None), "of the device that is gone nothing is said any more"
    assert (first["paused"], third["paused"], second["device"]) == (False, True, None)
    text = bureau.get("/windows").text
    assert "3 个窗口，1 个需要处理" in text
    assert "-3 ms" in text
    assert "+12 ppm" in text
    assert "开机 up 2 小时" in text
    assert text.index("dating/02") < text.index("dating/01") < text.index("dating/03")


@pytest.mark.parametrize(
    ("said", "waited_ms", "trouble"),
    [
        ({"conditions": ["key_stuck"]}, None, "a key is stuck"),
        ({"conditions": ["journal_fault"]}, None, "its flash fails"),
        ({"conditions": ["journal_full"]}, None, "its journal is full"),
        ({"conditions": ["receipt_refused"]}, None, "it refuses a receipt: is its key the hall's?"),
        ({"conditions": ["something_new"]}, None, None),
        ({"clock_ahead_ms": 5001}, None, "its device's clock is off"),
        ({"clock_ahead_ms": -5001}, None, "its device's clock is off"),
        ({"clock_ahead_ms": None}, None, None),
        ({}, page.LONG_MS + 1, "ratings have waited for long"),
        ({}, page.LONG_MS, None),
    ],
)
def test_what_a_device_says_of_itself(bureau: Bureau, said: dict[str, Any], waited_ms: int | None, trouble: str | None) -> None:
    bureau.state("01")
    bureau.health("01", waited_ms, **said)
    assert bureau.troubles() == ([trouble] if trouble else [])


def test_of_a_window_that_is_not_heard_only_that_is_said(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    bureau.state("01")
    bureau.health("01", conditions=["key_stuck"])
    monkeypatch.setattr(page, "now_ms", lambda: NOW_MS + SILENT_MS)
    assert bureau.troubles() == ["a key is stuck"]
    monkeypatch.setattr(page, "now_ms", lambda: NOW_MS + SILENT_MS + 1)
    assert bureau.troubles() == ["nothing is heard of it: check PC and network"]
    bureau.state("01", online=False)
    assert bureau.troubles() == ["its agent does not run"]
    assert "1 个需要处理" in bureau.get("/windows").text


def test_an_agent_that_says_nothing_of_its_device_and_no_window_at_all(bureau: Bureau) -> None:
    assert "还没有窗口联系过" in bureau.get("/windows").text
    bureau.state("01")
    assert bureau.troubles() == []
    assert bureau.items()[0]["health"] is None
    assert "正常" in bureau.get("/windows").text


@pytest.mark.parametrize(
    ("millis", "words"),
    [
        (0, "0 秒"),
        (59_999, "59 秒"),
        (60_000, "1 分"),
        (3_600_000, "1 小时"),
        (86_400_000, "1 天"),
        ((1 << 63) - 1, "1157407 天"),
    ],
)
def test_lengths_are_in_words(millis: int, words: str) -> None:
    assert page._length(millis) == words
