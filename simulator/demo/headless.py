"""The demo without a browser: N presses, then the books are compared.

What was pressed and thanked is known here, what was collected is read from the collector's API, and the two have nothing in
common but the way of the ratings themselves. Every press has a case number of its own, so that a lost, doubled or altered
rating shows as exactly that.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from protocol.levels import Level
from simulator.demo.clients import AgentClient, collected, summary
from simulator.demo.stage import Stage

SETTLE_S = 60.0
POLL_S = 0.1
SOUND_THANKS = 2
BUTTON_LEVELS = tuple(sorted(Level, reverse=True))


@dataclass
class Books:
    """What was pressed against what was collected."""

    pressed: dict[str, Level] = field(default_factory=dict)
    thanked: int = 0
    exact: int = 0
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    latencies_ms: list[int] = field(default_factory=list)
    waiting: int = 0
    evidence: int = 0
    gaps: int = 0

    @property
    def is_exact(self) -> bool:
        """True only when every press arrived once, as it was, and nothing else did, and all of it has its receipt."""
        wrong = self.missing or self.doubled or self.altered or self.invented or self.unverified
        return not wrong and self.exact == self.thanked == len(self.pressed) and not self.waiting + self.evidence + self.gaps

    def latency_ms(self, share: float) -> int:
        """Return the latency below which that share of the presses lies."""
        if not self.latencies_ms:
            return 0
        return sorted(self.latencies_ms)[max(0, math.ceil(share * len(self.latencies_ms)) - 1)]

    def median_ms(self) -> float:
        """Return the median latency from press to stored."""
        return statistics.median(self.latencies_ms) if self.latencies_ms else 0.0


class Thanks:
    """Counts the device's thanks; the listener of the demo's device."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, word: str, number: int) -> None:
        """Hear what the device says."""
        if word == "sound" and number == SOUND_THANKS:
            self.count += 1


def run(stage: Stage, thanks: Thanks, presses: int, seed: int, progress: Any) -> Books:
    """Press `presses` buttons, one evaluation each, wait until all has settled, and compare."""
    assert stage.device is not None, "the stage has been started"  # noqa: S101  # a programming error, not input
    agent = AgentClient(stage.agent_url, stage.agent_token)
    wait_for_device(agent)
    agent.ask("PUT", "/v1/staff", {"staff": "A07"})
    choose = random.Random(seed)
    books = Books()
    batch = f"H{int(time.time() * 1000):x}"
    thanked_before = thanks.count
    for number in range(presses):
        button = choose.randrange(5)
        case_no = f"{batch}-{number + 1}"
        body = {"case": {"case_no": case_no, "item_name": "社会保障卡申领"}, "timeout_s": 60}
        evaluation = agent.ask("POST", "/v1/evaluations", body)
        stage.device.press(button)
        books.pressed[case_no] = BUTTON_LEVELS[button]
        agent.ask("GET", f"/v1/evaluations/{evaluation['id']}?wait_s=10")
        progress(number + 1)
    settle(stage, agent, batch, presses)
    books.thanked = thanks.count - thanked_before
    compare(books, batch, collected(stage.collector_url))
    status = agent.ask("GET", "/v1/status")
    books.waiting = (status["journal_waiting"] or 0) + status["outbox_to_send"] + status["outbox_sent"]
    seen = summary(stage.collector_url)
    books.evidence = sum(seen["evidence"].values())
    books.gaps = seen["gaps"]
    return books


def wait_for_device(agent: AgentClient) -> None:
    """Return when the agent talks to device and broker; TimeoutError names what is missing."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        status = agent.ask("GET", "/v1/status")
        if status["link"] == "talking" and status["broker_connected"]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{status['link']}: {status['link_trouble'] or status['broker_trouble']}")
        time.sleep(POLL_S)


def settle(stage: Stage, agent: AgentClient, batch: str, presses: int) -> None:
    """Wait until everything is collected and receipted, or until that should long have happened."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        status = agent.ask("GET", "/v1/status")
        # the device's own count is as old as its last status; None means that it has not sent one yet
        rest = (1 if status["journal_waiting"] is None else status["journal_waiting"]) + status["outbox_to_send"]
        if not rest and not status["outbox_sent"]:
            arrived = [item for item in collected(stage.collector_url) if _case(item).startswith(batch)]
            if len(arrived) >= presses:
                return
        time.sleep(POLL_S)


def compare(books: Books, batch: str, items: list[dict[str, Any]]) -> None:
    """Hold what was collected against what was pressed."""
    found: Counter[str] = Counter()
    for item in items:
        case_no = _case(item)
        if not case_no.startswith(batch):
            continue
        if case_no not in books.pressed or not item["counts"]:
            books.invented.append(case_no)
            continue
        found[case_no] += 1
        if item["level"] != books.pressed[case_no].word:
            books.altered.append(case_no)
        elif item["signature"] != "verified" or not item["chained"]:
            books.unverified.append(case_no)
        else:
            books.exact += found[case_no] == 1
            books.latencies_ms.append(item["latency_ms"])
    books.missing = [case_no for case_no in books.pressed if not found[case_no]]
    books.doubled = [case_no for case_no, count in found.items() if count > 1]


def _case(item: dict[str, Any]) -> str:
    return str((item["case"] or {}).get("case_no", ""))
