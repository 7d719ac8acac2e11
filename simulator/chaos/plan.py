"""What breaks when: drawn from the seed alone, before anything starts (pure).

Real processes answer in their own time, so a seed breaks the same things at the same seconds, not at the same statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

FIRST_AT_S = 1.0
PAUSE_S = (0.3, 2.5)
LASTS_S = (0.3, 7.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: its names, and what it befalls; only one fault at a time befalls one thing."""

    name: str
    chinese: str
    befalls: str
    """`device`, `agent`, `way` (each window has one), `collector`, `collector's way`, `broker` or `store`."""


KINDS = (
    Kind("device's power cut", "评价器断电", "device"),
    Kind("device stands still", "评价器停顿", "device"),
    Kind("cable pulled", "拔数据线", "device"),
    Kind("agent killed", "代理程序被杀", "agent"),
    Kind("agent stands still", "代理程序停顿", "agent"),
    Kind("agent's data deleted", "代理数据被删", "agent"),
    Kind("agent's disk full", "代理磁盘已满", "agent"),
    Kind("agent's network cut", "代理断网", "way"),
    Kind("agent's network slow", "代理网络缓慢", "way"),
    Kind("agent's connection half-open", "代理连接半开", "way"),
    Kind("broker killed", "消息服务器被杀", "broker"),
    Kind("broker stands still", "消息服务器停顿", "broker"),
    Kind("broker killed, its data lost", "消息服务器被杀且数据丢失", "broker"),
    Kind("collector killed", "归集程序被杀", "collector"),
    Kind("collector stands still", "归集程序停顿", "collector"),
    Kind("collector's disk full", "归集磁盘已满", "collector"),
    Kind("collector's network cut", "归集断网", "collector's way"),
    Kind("collector's network slow", "归集网络缓慢", "collector's way"),
    Kind("collector's connection half-open", "归集连接半开", "collector's way"),
    Kind("database server killed", "数据库服务器被杀", "store"),
    Kind("database server stands still", "数据库服务器停顿", "store"),
    Kind("database session ended", "数据库会话被断开", "store"),
)
AT_A_WINDOW = ("device", "agent", "way")


@dataclass(frozen=True, slots=True)
class Happening:
    """One fault: when it begins, seconds from the start of the round, how long it lasts, and where."""

    at_s: float
    for_s: float
    kind: Kind
    window: int
    """Index of the window, 0 for what the hall has once."""

    @property
    def place(self) -> tuple[str, int]:
        """What cannot be broken twice at a time."""
        return self.kind.befalls, self.window


def draw(random: Random, seconds: float, windows: int, kinds: Sequence[Kind]) -> list[Happening]:
    """Return what happens in a round, by time: every kind comes before one comes again, none lasts beyond the end."""
    happenings: list[Happening] = []
    busy_until_s: dict[tuple[str, int], float] = {}
    deck: list[Kind] = []
    at_s = FIRST_AT_S
    while at_s < seconds and kinds:
        if not deck:
            deck = random.sample(list(kinds), len(kinds))
        kind = deck.pop()
        window = random.randrange(windows) if kind.befalls in AT_A_WINDOW else 0
        lasts_s = min(random.uniform(*LASTS_S), seconds - at_s)
        one = Happening(at_s, lasts_s, kind, window)
        begin_s = max(at_s, busy_until_s.get(one.place, 0.0))
        if begin_s + lasts_s <= seconds:
            happenings.append(Happening(begin_s, lasts_s, kind, window))
            busy_until_s[one.place] = begin_s + lasts_s
        at_s += random.uniform(*PAUSE_S)
    return sorted(happenings, key=lambda one: one.at_s)
