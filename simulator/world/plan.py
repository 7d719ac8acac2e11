"""What is going to happen in a world: every visit, press and fault, drawn from the seed before anything runs.

Each happening carries a seed of its own for whatever it has to draw when its time comes, so one can be left out and the others stay
as they are: that is what makes a failing plan smaller (see shrink). A plan can be kept as JSON and run again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

ROUND_S = 150.0
"""So long it goes on before everything is put right and has to settle."""
DAY_S = 86_400.0
OPENS_AT_S, CLOSES_AT_S = 9 * 3600.0, 17 * 3600.0
VISITS_A_DAY = 130
"""With the presses that `_visit` draws, about 300 a day and window."""
TROUBLES_A_DAY = 60
REPAIRED_S = 120.0

OPENS = "opens"
PRESSES = "presses"
SWITCHED_ON = "switched on"
SWITCHED_OFF = "switched off"


@dataclass(frozen=True, slots=True, order=True)
class Happening:
    """One thing that happens at a window, `at_s` seconds after the beginning of its round."""

    round: int
    at_s: float
    window: int
    what: str
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that happens in one world; `rounds` are the lengths of its rounds in seconds."""

    seed: int
    windows: int
    rounds: tuple[float, ...]
    happenings: tuple[Happening, ...]

    def of_round(self, number: int) -> list[Happening]:
        """Return what happens in a round."""
        return [one for one in self.happenings if one.round == number]

    def with_only(self, happenings: Iterable[Happening]) -> Plan:
        """Return the plan with fewer happenings."""
        return replace(self, happenings=tuple(sorted(happenings)))

    def to_json(self) -> str:
        """Return the plan as JSON, a line for each happening."""
        head = {"seed": self.seed, "windows": self.windows, "rounds": self.rounds}
        lines = ",\n".join("  " + json.dumps(asdict(one)) for one in self.happenings)
        return f'{json.dumps(head)[:-1]}, "happenings": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan; ValueError says what is wrong with it."""
        try:
            raw: dict[str, Any] = json.loads(text)
            happenings = tuple(sorted(Happening(**one) for one in raw["happenings"]))
            return cls(int(raw["seed"]), int(raw["windows"]), tuple(float(one) for one in raw["rounds"]), happenings)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"不是故障计划 this is no plan of a world: {error}") from error


def draw_busy(seed: int, windows: int, seconds: float, kinds: Collection[str]) -> Plan:
    """Draw some minutes in which at each window one visit follows another, and one trouble the other; `kinds` are faults."""
    count = max(1, round(seconds / ROUND_S))
    length_s = seconds / count
    happenings: list[Happening] = []
    for window in range(windows):
        random = Random(f"{seed}/{window}")
        visit_s, trouble_s = _some_pace(random, 0.3, 6.0), _some_pace(random, 0.08, 3.0)
        for number in range(count):
            at_s = random.random() * visit_s
            while at_s < length_s:
                happenings += _visit(random, number, at_s, window)
                at_s += random.expovariate(1 / visit_s)
            at_s = random.random() * trouble_s
            while kinds and at_s < length_s:
                happenings.append(Happening(number, at_s, window, random.choice(sorted(kinds)), random.getrandbits(32)))
                at_s += random.expovariate(1 / trouble_s)
    return Plan(seed, windows, (length_s,) * count, tuple(sorted(happenings)))


def draw_days(seed: int, windows: int, days: int, kinds: Collection[str]) -> Plan:
    """Draw days of a hall: PCs go on before nine and off after five, about 300 presses at each window in between."""
    happenings: list[Happening] = []
    for window in range(windows):
        random = Random(f"{seed}/{window}")
        for day in range(days):
            opens_s, closes_s = OPENS_AT_S - random.random() * 1200, CLOSES_AT_S + random.random() * 1200
            happenings.append(Happening(day, opens_s, window, SWITCHED_ON, random.getrandbits(32)))
            for _ in range(VISITS_A_DAY):
                happenings += _visit(random, day, random.uniform(OPENS_AT_S, CLOSES_AT_S), window)
            for _ in range(TROUBLES_A_DAY if kinds else 0):
                at_s = random.uniform(opens_s, closes_s)
                happenings.append(Happening(day, at_s, window, random.choice(sorted(kinds)), random.getrandbits(32)))
            # whatever was broken last has been repaired by then: nobody comes back in the night
            happenings.append(Happening(day, closes_s + REPAIRED_S, window, SWITCHED_OFF, random.getrandbits(32)))
    return Plan(seed, windows, (DAY_S,) * days, tuple(sorted(happenings)))


def _visit(random: Random, number: int, at_s: float, window: int) -> list[Happening]:
    """Draw a citizen: half of them are expected by the business system, some do not press, some children press seven times."""
    visit = []
    if random.random() < 0.5:
        visit.append(Happening(number, at_s, window, OPENS, random.getrandbits(32)))
    if random.random() < 0.85:
        presses = random.choice((1, 1, 1, 2, 7))
        visit += [
            Happening(number, at_s + 0.3 + random.random() * 4, window, PRESSES, random.getrandbits(32)) for _ in range(presses)
        ]
    return visit


def _some_pace(random: Random, least_s: float, most_s: float) -> float:
    """Draw a mean pause; short ones as likely as long ones."""
    return math.exp(random.uniform(math.log(least_s), math.log(most_s)))
