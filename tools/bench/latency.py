"""From a frame on the serial line to a subscriber, and to the collector and back to the device.

`wire`: our agent and the floor agent run side by side at one broker, each on a pseudo-terminal, and get frames in turn.
`receipt`: agent and collector, one record after the other; its floor is the sum of what nobody can leave out: the line there
and back, two durable commits, and the broker twice (in and out, once for the record and once for the receipt).
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from tools.bench.codec import Page
from tools.bench.paper import PaperDevice
from tools.bench.pty_device import PtyDevice, raw_pty
from tools.bench.rounds import percentile
from tools.bench.stage import Stage
from tools.bench.subscriber import Subscriber
from tools.bench.table import Effort, Goal, Row

EVERY_S = 0.01
BURST = 200
FLOOR_TOPIC = "floor/up"


class _Arrivals:
    """When messages came, by topic."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._times: dict[str, list[float]] = {}

    def note(self, topic: str, _payload: bytes, at_s: float) -> None:
        with self._came:
            self._times.setdefault(topic, []).append(at_s)
            self._came.notify_all()

    def take(self, topic: str, count: int) -> list[float]:
        """Wait for so many messages on a topic, and forget them."""
        with self._came:
            if not self._came.wait_for(lambda: len(self._times.get(topic, [])) >= count, timeout=30):
                raise TimeoutError(f"{len(self._times.get(topic, []))} of {count} messages on {topic}")
            return self._times.pop(topic)


def wire_rows(effort: Effort) -> list[Row]:
    """Frame → subscriber, ours and the floor agent in turn: single frames at 100 a second, then bursts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Stage(Path(name)) as stage:
        stage.start_broker()
        arrivals = _Arrivals()
        subscriber = Subscriber(stage.port, "#", arrivals.note)
        paper, other = PaperDevice("PJ-0001", "1"), PaperDevice("PJ-0002", "2")
        ours = PtyDevice(stage.folder / "port", paper)
        bare = PtyDevice(stage.folder / "floor-port", other, answers=False)
        stage.start_agent(str(ours.path))
        floor_agent = [sys.executable, "-m", "tools.bench.floor_agent", str(bare.path), str(stage.folder / "floor.db")]
        stage.start("floor", [*floor_agent, str(stage.port), FLOOR_TOPIC]).ready_url()
        if not ours.started.wait(30):
            raise TimeoutError("the agent has not asked for records")
        both = ((ours, paper.topic), (bare, FLOOR_TOPIC))
        single: dict[str, list[float]] = {topic: [] for _, topic in both}
        burst: dict[str, list[float]] = {topic: [] for _, topic in both}
        for _ in range(effort.of(20, 4)):
            for device, topic in both:
                single[topic] += _singles(device, topic, arrivals, 50)
        for _ in range(effort.of(10, 3)):
            for device, topic in both:
                burst[topic].append(_burst(device, topic, arrivals))
        subscriber.close()
        rows = [
            Row(
                f"wire-p{percent}",
                f"frame on the line → subscriber, commit in the path, p{percent}",
                percentile(single[paper.topic], percent) * 1000,
                "ms",
                percentile(single[FLOOR_TOPIC], percent) * 1000,
                "bare agent of 60 lines",
                goal,
            )
            for percent, goal in ((50, Goal(at_most=1.5)), (99, Goal(at_most=2)))
        ]
        what = f"burst of {BURST} frames → all at the subscriber"
        mine, least = (percentile(burst[topic], 50) * 1000 for _, topic in both)
        rows.append(Row("wire-burst", what, mine, "ms", least, "bare agent of 60 lines", Goal(at_most=2)))
        for device, _ in both:
            device.close()
    return rows


def _singles(device: PtyDevice, topic: str, arrivals: _Arrivals, count: int) -> list[float]:
    sent = []
    for frame in device.frames(count):
        sent.append(time.monotonic())
        device.send(frame)
        time.sleep(EVERY_S)
    return [came - went for came, went in zip(arrivals.take(topic, count), sent, strict=True)]


def _burst(device: PtyDevice, topic: str, arrivals: _Arrivals) -> float:
    data = b"".join(device.frames(BURST))
    began_s = time.monotonic()
    device.send(data)
    return arrivals.take(topic, BURST)[-1] - began_s


def receipt_rows(effort: Effort) -> list[Row]:
    """Frame → row in the collector → receipt at the device, beside the sum of its floors."""
    took: list[float] = []
    floors: dict[str, list[float]] = {"line": [], "commit": [], "hop": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Stage(Path(name)) as stage:
        stage.start_broker()
        stage.start_collector()
        device = PtyDevice(stage.folder / "port", PaperDevice("PJ-0001", "1"))
        stage.start_agent(str(device.path))
        if not device.started.wait(30):
            raise TimeoutError("the agent has not asked for records")
        hop, page, echo = _Hop(stage.port), Page(stage.folder / "page"), _Echo()
        for frame in device.frames(effort.of(400, 60)):
            began_s = time.monotonic()
            device.send(frame)
            took.append(device.await_receipt() - began_s)
            for part, floor in (("line", echo.once), ("commit", page.commit), ("hop", hop.once)):
                began_s = time.monotonic()
                floor()
                floors[part].append(time.monotonic() - began_s)
            time.sleep(EVERY_S)
        for thing in (hop, page, echo, device):
            thing.close()
    times = {"line": 1, "commit": 2, "hop": 2}
    return [
        Row(
            f"receipt-p{percent}",
            f"frame on the line → row in the collector → receipt at the device, p{percent}",
            percentile(took, percent) * 1000,
            "ms",
            sum(percentile(floors[part], percent) * count for part, count in times.items()) * 1000,
            "line there and back + 2 commits + 4 broker hops",
            Goal(at_most=2),
        )
        for percent in (50, 99)
    ]


class _Hop:
    """A message of a record's size into the broker and out again, between two paho clients."""

    def __init__(self, port: int) -> None:
        self._came = threading.Semaphore(0)
        self._there = Subscriber(port, "hop", lambda *_: self._came.release())
        self._here = Subscriber(port, "hop/none", lambda *_: None)
        self._payload = bytes(900)

    def once(self) -> None:
        self._here.client.publish("hop", self._payload, qos=1)
        if not self._came.acquire(timeout=30):
            raise TimeoutError("the broker delivers nothing")

    def close(self) -> None:
        self._there.close()
        self._here.close()


class _Echo:
    """A frame's bytes over a pseudo-terminal and back, with file descriptors alone."""

    def __init__(self) -> None:
        self._master, self._slave, _ = raw_pty()
        self._frame = bytes(range(5, 145))
        self._thread = threading.Thread(target=self._repeat, name="echo", daemon=True)
        self._thread.start()

    def once(self) -> None:
        os.write(self._master, self._frame)
        got = 0
        while got < len(self._frame):
            got += len(os.read(self._master, 4096))

    def close(self) -> None:
        os.write(self._master, b"\x00")
        self._thread.join()
        for end in (self._slave, self._master):
            os.close(end)

    def _repeat(self) -> None:
        while (data := os.read(self._slave, 4096)) != b"\x00":
            os.write(self._slave, data)
