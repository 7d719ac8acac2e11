"""What the firmware allocates on the real VM: nothing while nothing happens, little and no more than stated for a press."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.framing import encode_frame
from protocol.messages import Ack, Hello, Start
from tests.device_bench import write_identity

pytestmark = pytest.mark.micropython


@pytest.fixture
def figures(run_on_vm: Callable[..., list[str]], tmp_path: Path) -> dict[str, int]:
    hello = Hello(version_min=1, version_max=1, schema_hash=0, session=7, window=8).frame(1)
    line = [encode_frame(frame).hex() for frame in (hello, Start(next_seq=56).frame(2), Ack(next_seq=64).frame())]
    told = run_on_vm("idle_on_vm.py", str(write_identity(tmp_path / "identity.json", change_ms=0, rest_ms=10)), *line)
    print("\n".join(told))  # noqa: T201  # the figures of firmware/README.md
    return {name: int(number) for name, number in (line.split() for line in told)}


def test_idle_allocates_nothing_and_a_press_little(figures: dict[str, int]) -> None:
    assert figures["thanks"] == 61
    idle = {name: number for name, number in figures.items() if name.startswith("idle_") and name.endswith("_bytes")}
    assert len(idle) == 5
    assert set(idle.values()) == {0}, idle
    assert figures["free"] == 0
    # in cells of a 64-bit VM, which are twice the board's
    assert figures["press_bytes_most"] < 2000
    assert figures["device_bytes"] < 48_000
