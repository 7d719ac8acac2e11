"""A device written from docs/protocol.md alone, against the real broker, collector and agent.

The device is a process of its own behind `socket://`. Its changes of mind and its rest have the page's own lengths; the order
of presses below is such that nothing has to wait for them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import free_port, nats_available, start_nats
from tests.chains import HALL_KEY
from tests.e2e import stranger_device
from tests.hall import START_S, Hall, eventually
from tests.vectors.test_stranger_vectors import derive_device_key

pytestmark = pytest.mark.e2e
DEVICE = "STRANGER-1"


class Stranger:
    """The device's process; `boot` counts its starts, as the caller must for a device without flash."""

    def __init__(self, folder: Path) -> None:
        self.port, self.boot = free_port(), 0
        self._log = folder / "stranger.log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.boot += 1
        key = derive_device_key(HALL_KEY, DEVICE).hex()
        command = [sys.executable, stranger_device.__file__, "--port", str(self.port), "--id", DEVICE, "--key", key]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--boot", str(self.boot)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        assert self._line() == f"ready {self.port}", self._log.read_text()

    def press(self, level: int) -> None:
        self._say(str(level))
        assert self._line() == "thanks", self._log.read_text()

    def hang_up(self) -> None:
        self._say("hangup")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=START_S)
            self._process = None

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    device = Stranger(tmp_path)
    yield device
    device.kill()


@pytest.fixture
def hall(tmp_path: Path, stranger: Stranger) -> Iterator[Hall]:
    if not nats_available():
        pytest.skip("nats-server is not installed")
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as made:
        config = made.agent.config.read_text().replace(str(made.port), f"socket://127.0.0.1:{stranger.port}")
        made.agent.config.write_text(config)
        made.collector.start()
        yield made


def sign_in(hall: Hall, staff: str) -> None:
    answer = hall.ask("PUT", "/v1/staff", json={"staff": staff})
    assert answer.is_success, answer.text


def shown(rating: dict[str, Any]) -> tuple[Any, ...]:
    """What a rating says; and that its signature, its chain and its case have been checked."""
    assert (rating["device"], rating["signature"], rating["chained"]) == (DEVICE, "verified", True)
    case_no = None
    if rating["case"] is not None:
        assert rating["case_matches"] is True
        case_no = rating["case"]["case_no"]
    return rating["level"], case_no, rating["staff"], rating["counts"]


def test_a_day_with_a_device_from_elsewhere(hall: Hall, stranger: Stranger) -> None:
    stranger.start()
    stranger.press(4)  # free-standing, and nobody listens yet
    hall.agent.start()
    hall.await_talking()
    assert hall.status()["device"] == DEVICE
    assert [shown(rating) for rating in hall.await_collected(1)] == [("satisfied", None, None, True)]

    sign_in(hall, "A07")
    first = hall.open("C-1")
    stranger.press(3)
    stranger.press(5)  # a change of mind
    assert hall.ended(first) == "rated"
    _, before, after = hall.await_collected(3)
    assert shown(before) == ("basically_satisfied", "C-1", "A07", False)
    assert shown(after) == ("very_satisfied", "C-1", "A07", True)
    assert after["revises"] == before["seq"]
    hall.await_released()

    # the agent is killed while an evaluation is open: the press is taken, and arrives when the agent is back
    second = hall.open("C-2")
    hall.agent.kill()
    stranger.press(2)
    hall.agent.start()
    hall.await_talking()
    assert hall.ended(second) == "rated"
    assert shown(hall.await_collected(4)[-1]) == ("dissatisfied", "C-2", "A07", True)

    # the line breaks while an evaluation is open: the device goes on, and the agent finds it again
    third = hall.open("C-3")
    stranger.hang_up()
    stranger.press(1)
    assert hall.ended(third) == "rated"
    assert shown(hall.await_collected(5)[-1]) == ("very_dissatisfied", "C-3", "A07", True)
    hall.await_released()

    # the device is gone and comes back with a new journal, which is what it has for want of flash
    stranger.kill()
    eventually("the agent misses the device", lambda: hall.status()["link"] != "talking")
    stranger.start()
    stranger.press(4)
    hall.await_talking()
    last = eventually("the rating of the new journal", lambda: hall.ratings()[5:])[0]
    assert (last["level"], last["case"], last["seq"]) == ("satisfied", None, stranger_device.RECORDS_PER_JOURNAL + 2)
    assert not any(hall.summary()["evidence"].values())  # what ended the first journal is a gap, but no evidence of anything
    hall.await_released()
    status = hall.status()
    assert (status["boot"], status["journal_waiting"], status["conditions"]) == (2, 0, [])
    assert status["journal_free"] == 10_000  # every record has its receipt


def test_an_evaluation_that_is_cancelled_or_replaced_is_not_rated(hall: Hall, stranger: Stranger) -> None:
    stranger.start()
    hall.agent.start()
    hall.await_talking()
    sign_in(hall, "A07")
    replaced = hall.open("C-1")
    cancelled = hall.open("C-2")
    answer = hall.ask("DELETE", f"/v1/evaluations/{cancelled}")
    assert answer.is_success, answer.text
    assert hall.ended(replaced) == "cancelled"
    assert hall.ended(cancelled) == "cancelled"
    stranger.press(5)  # no evaluation is open
    assert [shown(rating) for rating in hall.await_collected(1)] == [("very_satisfied", None, "A07", True)]
    hall.await_released()
