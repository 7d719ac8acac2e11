"""A whole hall in virtual time: windows with device, line, agent and broker, one collector, and a plan that happens to them.

`run(plan)` is one world from start to verdict. After each round of the plan everything is put right, time goes on until all has
come to rest, and the oracle speaks. The plan alone makes it happen again, to the byte.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from host_agent.desk import Desk
from host_agent.instant import Instant
from host_agent.store.late_cases import WAITING
from protocol.messages import Language
from protocol.payloads import Case
from protocol.signing import derive_device_key
from protocol.topics import Window
from simulator.compare import Findings
from simulator.world import oracle
from simulator.world.absences import judge_absences
from simulator.world.agent import WorldAgent
from simulator.world.broker import Broker
from simulator.world.collector import WorldCollector
from simulator.world.device import WorldDevice
from simulator.world.faults import COUNTED, FAULTS, Scene
from simulator.world.line import Line
from simulator.world.plan import OPENS, PRESSES, SWITCHED_OFF, SWITCHED_ON, Happening, Plan
from simulator.world.scheduler import Scheduler
from simulator.world.trace import Entry, Trace

AREA, HALL = "533103", "mangshi"
HALL_KEY = bytes(range(32))
SECTORS = 8
DEVICES_MOST = 3
"""Devices that one window gets to see, its own included."""
EVALUATION_MS = (3_000, 20_000)
"""How long a citizen is waited for: so long, or so long."""
NAMES_AFTER, NAMES_WITHIN_S, NAMED_AT_ONCE = 4, 30.0, 3
"""After each press of so many, so long after it at most, the cases of the latest so many ratings are named."""
SETTLE_MOST_S = 3 * 3600.0
SETTLE_STEP_S = 2.0


class WindowPost:
    """One window: the device at it, others in its drawer, line, agent and the way to the broker."""

    def __init__(self, hall: Hall, number: int, folder: Path) -> None:
        self._hall = hall
        self.number = number
        self.window = Window(AREA, HALL, f"{number:02d}")
        self.line = Line(hall.scheduler, hall.trace, f"line {self.window.window}")
        self.line.tells_of_ports = number % 2 == 0
        self.broker = Broker(hall.scheduler, hall.trace, Random(f"{hall.seed}/broker/{number}"), f"broker {self.window.window}")
        hall.collector.serve(self.window, self.broker)
        self.is_configured = number % 2 == 0
        self.agent = WorldAgent(
            hall.scheduler,
            hall.trace,
            self.window,
            folder,
            self.line,
            self.broker,
            seed=hall.seed,
            configured=self.is_configured,
        )
        self.agent.died = hall.after_a_while(self.agent.start, 5.0)
        self.drawer: list[WorldDevice] = []
        self.named: set[tuple[str, int]] = set()
        """Device and number of the ratings whose case the clerk here has named afterwards, and was told that it is taken."""
        self._devices = 0
        self.device = self._new_device()
        self._connect()

    def switch_on(self) -> None:
        """Switch PC and device on."""
        self.device.power_on()
        self.agent.start()

    def switch_off(self, *, in_order: bool) -> None:
        """Switch the PC off, and with it the device that lives on its USB."""
        if in_order:
            self.agent.stop()
        else:
            self.agent.kill()
        self.device.power_off()

    def swap_device(self, choice: int) -> None:
        """Put another device at the window; this one goes into the drawer."""
        self.line.unplug()
        old = self.device
        old.power_off()
        old.sends = lambda _data: None
        if self._devices < DEVICES_MOST and (choice or not self.drawer):
            self.device = self._new_device()
        elif self.drawer:
            self.device = self.drawer.pop(0)
        else:
            self.device = old
        if old is not self.device:
            self.drawer.append(old)
        self._connect()
        self._hall.trace.note(f"window {self.window.window}", f"{old.name} is taken away, {self.device.name} is put here")
        self.plug_in()

    def plug_in(self) -> None:
        """Put the cable in, and with it the power on."""
        self.device.power_on()
        self.line.plug()

    def _connect(self) -> None:
        self.device.sends = self.line.device_sends
        self.line.to_device = self.device.receive

    def _new_device(self) -> WorldDevice:
        self._devices += 1
        name = f"PJQ-{self.number:02d}{self._devices:02d}"
        hall = self._hall
        key = derive_device_key(HALL_KEY, name)
        device = WorldDevice(hall.scheduler, hall.trace, Random(f"{hall.seed}/{name}"), name, key, SECTORS)
        device.died = hall.after_a_while(device.power_on, 15.0)
        hall.devices.append(device)
        return device

    def name_cases(self) -> None:
        """Have the clerk name the cases of the latest ratings that nobody was asked for."""
        self.agent.call(self._name)

    def _name(self, desk: Desk, now: Instant) -> None:
        for rating in desk.free_ratings.recent(NAMED_AT_ONCE):
            if rating.case is None:
                case = Case(case_no=oracle.late_case(rating.device, rating.seq))
                desk.free_ratings.name_case(rating.device, rating.seq, case, desk.staff, now)
                self.named.add((rating.device, rating.seq))

    @property
    def is_settled(self) -> bool:
        """True when nothing is on its way any more at this window."""
        agent = self.agent.agent
        return (
            self.device.has_all_receipts
            and self.device.is_idle
            and agent is not None
            and agent._attachment.is_talking
            and not agent._desk._unfinished
            and not any(state == WAITING for *_, state in self.agent.late_cases())
            and not self.agent.absences_left()
            and not self.broker.upward
            and not self.broker.on_the_way
        )


@dataclass
class Outcome:
    """What a world came to."""

    plan: Plan
    found: Findings
    faults: Counter[str] = field(default_factory=Counter)
    presses: int = 0
    refused: int = 0
    virtual_s: float = 0.0
    recovery_s: float = 0.0
    """The longest that it took from everything being put right to rest."""
    trace: list[Entry] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as it must be."""
        return self.found.wrong


class Hall:
    """Builds the hall in `folder` and has a plan happen to it."""

    def __init__(self, plan: Plan, folder: Path, *, trace: bool = False, settle_s: float = SETTLE_MOST_S) -> None:
        self._plan = plan
        self._settle_s = settle_s
        self.seed = plan.seed
        self.scheduler = Scheduler()
        self.trace = Trace(lambda: self.scheduler.now_s, on=trace)
        self.faults: Counter[str] = Counter()
        self.presses = 0
        self.recovery_s = 0.0
        self._random = Random(f"{plan.seed}/hall")
        self._breaking = 0
        """Counts rounds; 0 while everything is put right."""
        self._restless: list[str] = []
        self._cases = 0
        self.devices: list[WorldDevice] = []
        self.collector = WorldCollector(self.scheduler, self.trace, folder / "collector", {f"{AREA}/{HALL}": HALL_KEY})
        self.collector.died = self.after_a_while(self.collector.start, 5.0)
        self.posts = [WindowPost(self, number, folder / f"agent{number}") for number in range(1, plan.windows + 1)]

    def after_a_while(self, start: Callable[[], None], most_s: float) -> Callable[[], None]:
        """Return what somebody does who finds a part dead: start it again, some time later."""
        return lambda: self.scheduler.after(self._random.random() * most_s, start)

    def run(self) -> Outcome:
        """Have the whole plan happen; return what it came to, at the first round after which something is wrong."""
        self.collector.start()
        found = Findings()
        for number, length_s in enumerate(self._plan.rounds):
            self._round(number, length_s)
            self._settle()
            found = self._judge()
            if found.wrong:
                break
        else:
            found.wrong += oracle.judge_replay(self.collector, Random(self.seed))
        for post in self.posts:
            spoilt, disturbed = COUNTED
            self.faults[spoilt] += post.line.spoilt
            self.faults[disturbed] += post.broker.disturbed
        refused = sum(device.refused for device in self.devices)
        return Outcome(
            self._plan, found, +self.faults, self.presses, refused, self.scheduler.now_s, self.recovery_s, self.trace.entries
        )

    def close(self) -> None:
        """End every process."""
        for post in self.posts:
            post.agent.kill()
        self.collector.stop()

    def _round(self, number: int, length_s: float) -> None:
        self._breaking = number + 1
        happenings = self._plan.of_round(number)
        for post in self.posts:
            if any(one.what == SWITCHED_ON for one in happenings):
                post.switch_off(in_order=True)  # a day begins in the night
            else:
                post.switch_on()
        for happening in happenings:
            self.scheduler.after(happening.at_s, lambda happening=happening: self._happen(happening))  # type: ignore[misc]  # mypy cannot infer a lambda with a bound default
        self.scheduler.run(length_s)

    def _happen(self, happening: Happening) -> None:
        post = self.posts[happening.window]
        random = Random(happening.seed)
        if happening.what == PRESSES:
            self.presses += 1
            post.device.press(random.randrange(5), post.window.window)
            if random.randrange(NAMES_AFTER) == 0:
                self.scheduler.after(random.random() * NAMES_WITHIN_S, post.name_cases)
        elif happening.what == OPENS:
            self._cases += 1
            case = Case(case_no=f"BJ-{post.window.window}-{self._cases}")
            timeout_ms = random.choice(EVALUATION_MS)
            post.agent.call(lambda desk, now: desk.open(case, timeout_ms, Language.DEVICE_SETTING, None, None, now))
        elif happening.what == SWITCHED_ON:
            post.switch_on()
        elif happening.what == SWITCHED_OFF:
            post.switch_off(in_order=bool(random.randrange(2)))
        else:
            self.faults[happening.what] += 1
            self.trace.note("fault", f"{happening.what} at window {post.window.window}")
            other = random.choice(self.posts)
            FAULTS[happening.what].happen(Scene(post, other, self.collector, random, self._after))

    def _after(self, delay_s: float, what: Callable[[], None]) -> None:
        breaking = self._breaking
        self.scheduler.after(delay_s, lambda: what() if breaking == self._breaking else None)

    def _settle(self) -> None:
        """Put everything right and wait until nothing is on its way any more, but not for ever."""
        self.trace.note("hall", "everything is put right")
        self._breaking = 0
        began_s = self.scheduler.now_s
        for post in self.posts:
            post.line.mend()
            post.broker.mend()
            post.agent.mend()
        for device in self.devices:
            device.flash.left = -1
        self.collector.start()
        self.collector.mend()
        waiting = {post.number: list(post.drawer) for post in self.posts}
        while self.scheduler.now_s - began_s < self._settle_s:
            self.collector.start()
            for post in self.posts:
                post.switch_on()
            self.scheduler.run(SETTLE_STEP_S)
            settled = [post for post in self.posts if post.is_settled]
            if len(settled) == len(self.posts) and not any(waiting.values()) and not self._judge_windows():
                break
            for post in settled:
                if waiting[post.number]:
                    waiting[post.number].pop(0)
                    post.swap_device(0)
        else:
            self._restless = [post.window.window for post in self.posts if not post.is_settled]
        self.recovery_s = max(self.recovery_s, self.scheduler.now_s - began_s)

    def _judge(self) -> Findings:
        for device in self.devices:
            device.power_on()  # those in the drawers too, to have a look at their journals
        found = oracle.judge_devices(self.devices, self.collector)
        found.wrong += oracle.judge_agents([post.agent for post in self.posts], self.collector)
        found.wrong += self._judge_windows()
        for post in self.posts:
            found.wrong += oracle.judge_late_cases(post.window.window, post.agent, post.named, self.collector)
            found.wrong += judge_absences(post.window.window, post.window.path, post.line, post.agent, self.collector)
        found.wrong += [f"window {window} has not come to rest in {self._settle_s:.0f} s" for window in self._restless]
        return found

    def _judge_windows(self) -> list[str]:
        assert self.collector.database is not None  # noqa: S101  # settle has started it
        with self.collector.database.reader.connect() as connection:
            return oracle.judge_windows(connection, [(post.window.window, post.device.name) for post in self.posts])


def run(plan: Plan, *, trace: bool = False, settle_s: float = SETTLE_MOST_S) -> Outcome:
    """Run one world and return what it came to; what has not come to rest `settle_s` after a round is wrong."""
    with tempfile.TemporaryDirectory(prefix="world-", dir=_fastest_folder()) as folder:
        hall = Hall(plan, Path(folder), trace=trace, settle_s=settle_s)
        try:
            return hall.run()
        finally:
            hall.close()


def _fastest_folder() -> str | None:
    """Return a folder in memory where there is one: virtual time does not wait for disks."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # below it, tempfile makes a folder of its own
