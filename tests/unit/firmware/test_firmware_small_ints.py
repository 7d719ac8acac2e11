"""On the board, integers from 2**30 up are objects on the heap: the idle path must never make one.

The VM of the tests has 64 bits and would not notice. So every value that idle steps bind, return or keep is looked at here.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from firmware.evaluator.ticks import PERIOD
from tests.device_bench import Host, bench

BOARD_LIMIT = 1 << 30


def too_big(value: object) -> bool:
    return isinstance(value, int) and not -BOARD_LIMIT <= value < BOARD_LIMIT


def test_an_idle_step_makes_no_large_integer() -> None:
    device = bench(now=PERIOD - 60_000)
    host = Host(device).join()
    device.press(0)
    host.listen(13_000)
    host.status()
    seen: set[str] = set()
    found: list[str] = []

    def look(frame: FrameType, event: str, arg: object) -> Any:
        if "/firmware/evaluator/" not in frame.f_code.co_filename:
            return None
        name = frame.f_code.co_qualname
        seen.add(name)
        values = {**frame.f_locals, **getattr(frame.f_locals.get("self"), "__dict__", {}), "returned": arg}
        found.extend(f"{name}: {key} = {value}" for key, value in values.items() if too_big(value))
        return look

    fields = ("_utc_ms", "_uncertainty_ms", "_set_at_ms")  # set by the host, not touched
    known = {f"Clock.{method}: {field}" for method in ("tick", "uptime_s") for field in fields}
    for _ in range(3):
        sys.settrace(look)
        try:
            for _ in range(400):
                device.device.step(device.now)
                device.now = (device.now + 2) % PERIOD
        finally:
            sys.settrace(None)
        device.now = (device.now + 20_000) % PERIOD  # over the wrap, and over the host's silence
    assert {"Device.step", "Link.step", "Clock.tick", "Buttons.scan", "Journal.idle", "Session.step", "Feedback.step"} <= seen
    assert [line for line in found if line.split(" = ")[0] not in known] == []
