"""A cable pulled and an agent killed are told to the officers, with their lengths, whatever was away meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from host_agent.absences import SIGN_EVERY_S, STEADY_S
from tests.brokers import start_mosquitto
from tests.hall import DEVICE, Hall, eventually

pytestmark = pytest.mark.e2e


def absences(hall: Hall, what: str) -> list[dict[str, Any]]:
    """What the collection has of one kind, oldest first, but what it only supposes."""
    answer = httpx.get(f"{hall.collector.url}/api/v1/absences", trust_env=False, timeout=15).json()
    return [item for item in answer["items"] if item["what"] == what and item["reason"] != "no_contact"]


def over(hall: Hall, what: str, count: int) -> dict[str, Any]:
    """Wait until so many are known and the last one is over, and return that."""

    def last() -> dict[str, Any]:
        found = absences(hall, what)
        return found[-1] if len(found) == count and found[-1]["end_ms"] is not None else {}

    return eventually(f"absence {count} of the {what} is over", last)


def test_a_pulled_cable_and_a_killed_agent_reach_the_page(tmp_path: Path) -> None:
    with Hall(tmp_path / "hall", start_mosquitto(tmp_path / "broker")) as hall:
        hall.start()
        hall.ask("PUT", "/v1/staff", json={"staff": "017"})
        hall.device.unplug()
        pulled_s = time.monotonic()
        (begun,) = eventually("it is told while it lasts", lambda: absences(hall, "device"))
        assert (begun["reason"], begun["staff"], begun["device"], begun["note"]) == ("unplugged", "017", DEVICE, "lasts")

        hall.broker.kill()  # its end is told later
        hall.device.plug_in()
        eventually("the device is back", lambda: hall.status()["link"] == "talking")
        away_s = time.monotonic() - pulled_s
        time.sleep(STEADY_S + 1)  # nothing can be waited for: the broker is away, and by now it has ended
        hall.agent.kill()
        killed_s = time.monotonic()
        hall.broker.start()

        hall.agent.start()
        down_s = time.monotonic() - killed_s
        hall.await_talking()

        device = over(hall, "device", 1)
        assert 0 < device["lasted_ms"] / 1000 <= away_s + 1
        agent = over(hall, "agent", 1)
        assert agent["reason"] == "killed"
        assert down_s - 2 <= agent["lasted_ms"] / 1000 <= down_s + SIGN_EVERY_S

        assert hall.agent.stop() == 0
        hall.agent.start()
        stopped = over(hall, "agent", 2)
        assert stopped["reason"] == "stopped"
        assert stopped["lasted_ms"] < 30_000
        page = httpx.get(f"{hall.collector.url}/absences", trust_env=False, timeout=15).text
        for word in ("拔线或串口故障", "异常中断", "正常停止", "签到"):
            assert word in page
        assert hall.summary()["evidence"]["absence"] == 0
