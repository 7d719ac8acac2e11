"""The agent of the world: the real program on a real SQLite file, started, killed and started again.

A kill comes before or after any statement that touches the database (see `mortal`).
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from host_agent.agent import Agent
from host_agent.config import Config, DeviceConfig, PlaceConfig
from host_agent.desk import Desk
from host_agent.errors import DamagedError
from host_agent.instant import Instant
from host_agent.store.database import FILE_NAME, Writer
from host_agent.surroundings import Surroundings
from protocol.errors import PayloadError
from protocol.payloads import Case
from protocol.topics import Window
from simulator.world.broker import Broker
from simulator.world.line import NAMES, Line
from simulator.world.mortal import NEVER, NO_LIMIT_PAGES, Killed, MortalConnection
from simulator.world.scheduler import Scheduler, WallClock
from simulator.world.trace import Trace

PAGE_BYTES = 4096
ROOM_BYTES = 1 << 40


@cache
def _blank() -> bytes:
    """Return the file of a database with the newest schema and nothing in it; making one takes long."""
    with tempfile.TemporaryDirectory(prefix="world-") as folder:
        Writer(Path(folder)).close()  # the last to close brings everything into the file
        return (Path(folder) / FILE_NAME).read_bytes()


class WorldAgent:
    """One agent on its own folder; runs whenever something is posted or due."""

    def __init__(
        self,
        scheduler: Scheduler,
        trace: Trace,
        window: Window,
        folder: Path,
        line: Line,
        broker: Broker,
        *,
        seed: int,
        configured: bool,
    ) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._folder = folder
        self._broker = broker
        self._line = line
        self.who = f"agent {window.window}"
        self.clock = WallClock(scheduler)
        self._config = Config(
            data_dir=folder,
            place=PlaceConfig(area=window.area, hall=window.hall, window=window.window),
            device=DeviceConfig(port=NAMES[0] if configured else None),
        )
        self._surroundings = Surroundings(
            clocks=self.clock,
            asleep_s=lambda: 0.0,  # the clock of this world goes on while a PC sleeps
            entropy=Random(f"{seed}/{window.path}").randbytes,
            ports=line,
            connect=broker.connect,
            posted=self._plan_now,
            free_bytes=lambda _folder: ROOM_BYTES,  # not what this machine happens to have
        )
        self._statements: MortalConnection | None = None
        self._life = 0
        self._planned_s = float("inf")
        self._asleep_until_s = 0.0
        self._backup: bytes | None = None
        self.agent: Agent | None = None
        self.crashes: list[str] = []
        """Ends that nobody caused, but for a damaged database."""
        self.is_damaged = False
        self.has_lost_data = False
        """Whether anybody has deleted, damaged or set back its database."""
        """Somebody has written nonsense into the database: that may end the process, and be found later."""
        self.was_full = False
        """Whether its disk was full for a while."""
        self.starts: list[float] = []
        self.down: list[tuple[float, float]] = []
        """From when to when it did not run, but for before its first turn: nobody can know of that."""
        self.sleeps: list[tuple[float, float]] = []
        """From when to when it stood still."""
        self.talked: list[tuple[float, float]] = []
        """From when to when records could flow."""
        self._ended_s: float | None = None
        self._sleeps_s: float | None = None
        self._talks_s: float | None = None
        self._has_turned = False
        self.died: Callable[[], None] = lambda: None
        """Called when the process has died by itself."""

    @property
    def file(self) -> Path:
        """The agent's database."""
        return self._folder / FILE_NAME

    def start(self) -> None:
        """Start the process."""
        if self.agent is not None:
            return
        self._life += 1
        if not self.file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            self.file.write_bytes(_blank())
        try:
            agent = Agent(self._config, self._surroundings)
        except Exception as error:
            self._crashed(error)
            return
        self._statements = MortalConnection(agent._writer.connection)
        agent._writer.connection = self._statements  # type: ignore[assignment]  # it behaves as one, until it dies
        self.agent = agent
        self._planned_s = float("inf")  # whatever was planned was for the life before
        self.starts.append(self._scheduler.now_s)
        if self._ended_s is not None:
            self.down.append((self._ended_s, self._scheduler.now_s))
            self._ended_s = None
        if self._scheduler.now_s < self._asleep_until_s:
            self._sleeps_s = self._scheduler.now_s
        self._trace.note(self.who, "starts")
        self._guarded(agent.start)
        self._plan_now()

    def stop(self) -> None:
        """End the process in order, as the system does when it shuts down."""
        if self.agent is not None:
            self._trace.note(self.who, "stops")
            self._guarded(self.agent.end)
            self.agent = None
            self._life += 1
            self._is_gone()

    def kill(self) -> None:
        """End the process here and now."""
        if self.agent is not None:
            self._trace.note(self.who, "killed")
            self._die()

    def kill_at(self, statements: int, *, after: bool) -> None:
        """Have the process die at the statement after so many more."""
        if self._statements is not None and self.agent is not None:
            self._statements.kill_at(statements, after=after)

    def sleep(self, seconds: float) -> None:
        """Let the PC sleep: the process stands still."""
        self._asleep_until_s = self._scheduler.now_s + seconds
        if self.agent is not None and self._sleeps_s is None:
            self._sleeps_s = self._scheduler.now_s

    def fill_disk(self) -> None:
        """Leave no room for another page of the database."""
        if self._statements is not None and self.agent is not None:
            self._statements.most_pages(1)
            self.was_full = True

    def free_disk(self) -> None:
        """Make room again."""
        if self._statements is not None and self.agent is not None:
            self._statements.most_pages(NO_LIMIT_PAGES)

    def lose_disk(self) -> None:
        """Kill the process and delete everything it has stored."""
        self.kill()
        self._trace.note(self.who, "the disk is lost")
        self.has_lost_data = True
        shutil.rmtree(self._folder, ignore_errors=True)

    def damage_disk(self, random: Random) -> None:
        """Kill the process and write nonsense somewhere into its database."""
        self.kill()
        if not self.file.exists():
            return
        content = bytearray(self.file.read_bytes())
        at = random.randrange(len(content))
        how = random.randrange(3)
        if how == 0:
            del content[at:]
        elif how == 1:
            page = at - at % PAGE_BYTES
            content[page : page + PAGE_BYTES] = bytes(len(content[page : page + PAGE_BYTES]))
        else:
            count = min(random.choice((1, 16, 512)), len(content) - at)
            content[at : at + count] = random.randbytes(count)
        self._trace.note(
            self.who, f"the disk is damaged at {at} of {len(content)}, {('cut', 'a page of zeros', 'nonsense')[how]}"
        )
        self.file.write_bytes(content)
        self.is_damaged = self.has_lost_data = True

    def set_disk_back(self) -> None:
        """Kill the process, restore its database from the backup made the last time, and back it up for the next."""
        self.kill()
        if not self.file.exists():
            return
        now = self.file.read_bytes()
        if self._backup is not None:
            self._trace.note(self.who, "the disk is set back to an earlier image")
            self.has_lost_data = True
            self.file.write_bytes(self._backup)
        self._backup = now

    def call(self, what: Callable[[Desk, Instant], object]) -> None:
        """Ask the agent for something, as a business system does, and do not wait."""
        if self.agent is not None:
            self.agent.call(what)

    def late_cases(self) -> list[tuple[str, int, str, int]]:
        """Return device, number, case number and state of every late case; nothing where damage has not been met yet."""
        if self.agent is None:
            return []
        try:
            rows = self.agent._writer.connection.execute("SELECT device, seq, case_json, state FROM late_cases").fetchall()
            return [(device, seq, Case.from_json(case.encode()).case_no, state) for device, seq, case, state in rows]
        except (sqlite3.Error, PayloadError):
            if self.is_damaged:
                return []
            raise

    def absences_left(self) -> int:
        """Return how many absences last or wait for the collection; none where damage has not been met yet."""
        if self.agent is None:
            return 0
        try:
            return int(self.agent._writer.connection.execute("SELECT count(*) FROM absences").fetchone()[0])
        except sqlite3.Error:
            if self.is_damaged:
                return 0
            raise

    def mend(self) -> None:
        """Put everything right."""
        self.free_disk()
        self.kill_at(NEVER, after=False)
        self.clock.wrong_by_ms = 0
        self._asleep_until_s = 0.0
        self._plan_now()

    def _plan_now(self) -> None:
        self._plan(self._scheduler.now_s)

    def _plan(self, when_s: float) -> None:
        when_s = max(when_s, self._asleep_until_s)
        if when_s < self._planned_s:
            self._planned_s = when_s
            life = self._life
            self._scheduler.after(when_s - self._scheduler.now_s, lambda: self._turn(life, when_s))

    def _turn(self, life: int, planned_s: float) -> None:
        if self.agent is None or life != self._life or planned_s != self._planned_s:
            return  # of a life that is over, or overtaken by something earlier
        self._planned_s = float("inf")
        if self._scheduler.now_s >= self._asleep_until_s:
            self._is_awake()
            self._guarded(self.agent.turn)
        if self.agent is not None:
            self._watch(self.agent)
            self._plan(max(self.agent.deadline_s(), self._scheduler.now_s + 0.001))

    def _watch(self, agent: Agent) -> None:
        """Note since when records flow."""
        self._has_turned = True
        if agent._attachment.is_talking:
            self._talks_s = self._scheduler.now_s if self._talks_s is None else self._talks_s
        elif self._talks_s is not None:
            self.talked.append((self._talks_s, self._scheduler.now_s))
            self._talks_s = None

    def _is_awake(self) -> None:
        if self._sleeps_s is not None:
            self.sleeps.append((self._sleeps_s, self._scheduler.now_s))
            self._sleeps_s = None

    def _is_gone(self) -> None:
        """Note since when it does not run."""
        self._is_awake()
        if self._talks_s is not None:
            self.talked.append((self._talks_s, self._scheduler.now_s))
            self._talks_s = None
        if self._has_turned and self._ended_s is None:
            self._ended_s = self._scheduler.now_s

    def _guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Killed:
            self._trace.note(self.who, "killed at a statement")
            self._die()
            self.died()
        except Exception as error:
            # as its service manager sees it: the process has ended by itself, and is started again
            self._die()
            self._crashed(error)

    def _crashed(self, error: Exception) -> None:
        self._trace.note(self.who, f"ends with {error!r}")
        if not (self.is_damaged and isinstance(error, sqlite3.Error | DamagedError)):
            self.crashes.append(f"{self.who}: ended with {error!r}")
        self.died()

    def _die(self) -> None:
        if self.agent is None:
            return
        agent, self.agent = self.agent, None
        self._is_gone()
        self._life += 1
        self._planned_s = float("inf")
        if self._statements is not None:
            self._statements.kill_at(NEVER, after=False)
        agent._writer.close()  # without a commit: SQLite rolls back, as it would when the process is gone
        if self._broker.client is not None:
            self._broker.client.vanish()
        self._line.process_gone()
