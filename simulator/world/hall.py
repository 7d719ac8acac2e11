"""A whole hall in virtual time, and the rough hands that break it: `run(seed, …)` is one world from start to verdict.

Everything is drawn from the seed: presses, evaluations, and every fault. After the faults everything is put right, time goes on until
all has settled, and the oracle speaks. The seed alone makes it happen again.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from protocol.messages import Language
from protocol.payloads import Case
from protocol.signing import derive_device_key
from protocol.topics import Window
from simulator.world.broker import Broker
from simulator.world.device import WorldDevice
from simulator.world.line import Line
from simulator.world.oracle import Verdict, judge
from simulator.world.programs import WorldAgent, WorldCollector
from simulator.world.scheduler import Scheduler

HALL_KEY = bytes(range(32))
SECTORS = 8
SETTLE_S = 3 * 3600.0
SETTLE_STEP_S = 60.0
FAULTS = (
    "power cut",
    "power cut in flash",
    "unplugged",
    "bad line",
    "agent killed",
    "agent's disk lost",
    "connection dropped",
    "broker unreachable",
    "broker forgets",
    "bad broker",
    "collector killed",
)
"""What happens, by name."""


@dataclass
class Post:
    """One window: device, line, agent and its way to the broker."""

    device: WorldDevice
    line: Line
    agent: WorldAgent
    broker: Broker


@dataclass
class Outcome:
    """What a world came to."""

    seed: int
    verdicts: list[Verdict]
    faults: Counter[str] = field(default_factory=Counter)
    presses: int = 0
    virtual_s: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as it must be."""
        return [f"{verdict.device}: {text}" for verdict in self.verdicts for text in verdict.wrong]


class Hall:
    """Builds the hall in `folder` and breaks it."""

    def __init__(self, seed: int, windows: int, folder: Path, kinds: Collection[str] | None = None) -> None:
        self.random = Random(seed)
        self.seed = seed
        self._kinds = kinds
        self.scheduler = Scheduler()
        self.faults: Counter[str] = Counter()
        self.presses = 0
        self.breaking = True
        self.collector = WorldCollector(self.scheduler, self.random, folder / "collector", {"533103/mangshi": HALL_KEY})
        self.posts = [self._post(number, folder) for number in range(1, windows + 1)]

    def _post(self, number: int, folder: Path) -> Post:
        name = f"PJQ-{number:04d}"
        window = Window("533103", "mangshi", f"{number:02d}")
        device = WorldDevice(self.scheduler, self.random, name, derive_device_key(HALL_KEY, name), SECTORS)
        line = Line(self.scheduler, self.random, device.receive)
        device.sends = line.device_sends
        broker = Broker(self.scheduler, self.random)
        self.collector.serve(window, broker)
        return Post(device, line, WorldAgent(self.scheduler, window, folder / f"agent{number}", line, broker), broker)

    def start(self) -> None:
        """Switch everything on, and let citizens and faults come."""
        self.collector.start()
        for post in self.posts:
            post.device.power_on()
            post.agent.start()
            self._citizens(post)
            self._trouble(post)

    def settle(self, most_s: float) -> None:
        """Put everything right and wait until nothing is on its way any more, but not for ever."""
        self.breaking = False
        for post in self.posts:
            post.line.fault_rate = post.broker.fault_rate = 0.0
            post.broker.reachable = True
            post.broker.forget_nothing()
            post.device.flash.left = -1
            post.agent.kill(-1, after=False)
            post.line.plug()
        waited_s = 0.0
        while waited_s < most_s:
            for post in self.posts:
                if post.device.device is None:
                    post.device.power_on()
                post.agent.start()
            self.collector.start()
            self.scheduler.run(SETTLE_STEP_S)
            waited_s += SETTLE_STEP_S
            if all(self._is_settled(post) for post in self.posts):
                return

    def outcome(self) -> Outcome:
        """Ask the oracle."""
        assert self.collector.database is not None, "settle comes first"  # noqa: S101  # a programming error, not input
        for post in self.posts:
            self.faults["bytes"] += post.line.faults
            self.faults["deliveries"] += post.broker.faults
        verdicts = [judge(post.device, self.collector.database) for post in self.posts]
        return Outcome(self.seed, verdicts, self.faults, self.presses, self.scheduler.now_s)

    def _is_settled(self, post: Post) -> bool:
        device = post.device.device
        return device is not None and device.journal.receipt_seq == device.journal.next_seq and not post.broker.upward

    def _citizens(self, post: Post) -> None:
        if not self.breaking:
            return
        random = self.random
        kind = random.randrange(10)
        if kind < 5:
            case = Case(case_no=f"BJ-{random.randrange(1 << 30)}")
            post.agent.call(lambda desk, now: desk.open(case, 20_000, Language.DEVICE_SETTING, None, None, now))
        for _ in range(random.choice((1, 1, 1, 2, 7)) if kind < 8 else 0):
            button = random.randrange(5)
            self.presses += 1
            self.scheduler.after(0.5 + random.random() * 4, lambda button=button: post.device.press(button))  # type: ignore[misc]  # mypy cannot infer a lambda with a bound default
        self.scheduler.after(1 + random.random() * 20, lambda: self._citizens(post))

    def _trouble(self, post: Post) -> None:
        if not self.breaking:
            return
        random = self.random
        happens: dict[str, Callable[[], None]] = {
            "power cut": lambda: self._power_cut(post),
            "power cut in flash": lambda: post.device.flash.cut_after(random.randrange(4)),
            "unplugged": lambda: self._unplugged(post),
            "bad line": lambda: self._for_a_while(post.line, 0.3),
            "agent killed": lambda: post.agent.kill(random.randrange(12), after=bool(random.randrange(2))),
            "agent's disk lost": post.agent.lose_disk,
            "connection dropped": post.broker.drop_connection,
            "broker unreachable": lambda: self._unreachable(post),
            "broker forgets": lambda: post.broker.forget(random.randrange(5)),
            "bad broker": lambda: self._for_a_while(post.broker, 0.3),
            "collector killed": lambda: self.collector.kill(random.randrange(3)),
        }
        name = random.choice([fault for fault in FAULTS if self._kinds is None or fault in self._kinds])
        self.faults[name] += 1
        happens[name]()
        self.scheduler.after(random.random() * 15, lambda: self._repair(post))
        self.scheduler.after(random.random() * 6, lambda: self._trouble(post))

    def _repair(self, post: Post) -> None:
        """Start again what has died, as a service manager, a mains switch and a technician do."""
        if post.device.device is None:
            post.device.power_on()
        post.agent.start()
        self.collector.start()

    def _power_cut(self, post: Post) -> None:
        if post.device.device is not None:
            post.device.power_off()

    def _unplugged(self, post: Post) -> None:
        post.line.unplug()
        self.scheduler.after(self.random.random() * 20, post.line.plug)

    def _unreachable(self, post: Post) -> None:
        post.broker.reachable = False
        post.broker.drop_connection()

        def back() -> None:
            post.broker.reachable = True

        self.scheduler.after(self.random.random() * 30, back)

    def _for_a_while(self, part: Line | Broker, rate: float) -> None:
        part.fault_rate = rate

        def good_again() -> None:
            part.fault_rate = 0.0

        self.scheduler.after(self.random.random() * 10, good_again)


def run(
    seed: int,
    *,
    windows: int = 2,
    seconds: float = 300.0,
    settle_s: float = SETTLE_S,
    kinds: Collection[str] | None = None,
) -> Outcome:
    """Run one world and return what it came to; `kinds` are the faults that happen, all by default."""
    with tempfile.TemporaryDirectory(prefix="world-", dir=_fastest_folder()) as folder:
        hall = Hall(seed, windows, Path(folder), kinds)
        hall.start()
        hall.scheduler.run(seconds)
        hall.settle(settle_s)
        outcome = hall.outcome()
        for post in hall.posts:
            post.agent.close()
        hall.collector.close()
    return outcome


def _fastest_folder() -> str | None:
    """Return a folder in memory where there is one: virtual time does not wait for disks."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # below it, tempfile makes a folder of its own
