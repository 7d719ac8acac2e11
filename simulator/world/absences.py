"""What must be true of absences when a world has come to rest: each is collected as it was, and none was invented.

What was really absent is seen from outside: when the cable was out, when the process ran and the PC was awake, and when records could
flow. It is compared in true time, so only where the PC's clock was right throughout, and where everything that the agent had stored
was still there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import sqlalchemy as sa

from host_agent import absences
from host_agent.absences import GRACE_S, SIGN_EVERY_S, STOOD_STILL_S, WATCH_S
from host_agent.link.conversation import HEARTBEAT_S, SILENT_S
from simulator.world.agent import WorldAgent
from simulator.world.collector import WorldCollector
from simulator.world.line import Line
from simulator.world.scheduler import EPOCH_MS

Span = tuple[float, float]
INEXACT_S = 0.1
NOTICED_S = SILENT_S + HEARTBEAT_S
"""A cable that is out is noticed by the silence at the latest."""
_ROWS = sa.text('SELECT what, begin_ms, end_ms FROM absences WHERE "window" = :window ORDER BY what, begin_ms, end_ms')
_EVIDENCE = sa.text("SELECT count(*) FROM evidence WHERE kind = 'absence' AND place = :place")


@dataclass
class Told:
    """The absences of a window at the collection, in seconds of true time."""

    device: list[Span] = field(default_factory=list)
    agent: list[Span] = field(default_factory=list)
    untold: int = 0
    """How many have no end."""


def judge_absences(window: str, path: str, line: Line, agent: WorldAgent, collector: WorldCollector) -> list[str]:
    """Compare what a window has told with what was."""
    assert collector.database is not None, "settle comes first"  # noqa: S101  # a programming error, not input
    with collector.database.reader.connect() as connection:
        told = _told(connection, window)
        contradictions = connection.execute(_EVIDENCE, {"place": path}).scalar()
    if agent.has_lost_data:
        return []
    wrong = [f"{contradictions} contradictions"] if contradictions else []
    if told.untold:
        wrong.append(f"{told.untold} were never over")
    if not agent.clock.was_set and not agent.was_full:
        wrong += [*_overlapping(told), *_untold_ends(told, agent), *_untold_cables(told, line, agent), *_invented(told, agent)]
    return [f"absences of window {window}: {one}" for one in wrong]


def _told(connection: sa.Connection, window: str) -> Told:
    told = Told()
    for what, begin_ms, end_ms in connection.execute(_ROWS, {"window": window}):
        if end_ms is None:
            told.untold += 1
        else:
            getattr(told, what).append(((begin_ms - EPOCH_MS) / 1000, (end_ms - EPOCH_MS) / 1000))
    return told


def _overlapping(told: Told) -> list[str]:
    return [
        f"{before} and {after} overlap"
        for spans in (told.device, told.agent)
        for before, after in pairwise(spans)
        if after[0] < before[1] - INEXACT_S
    ]


def _untold_ends(told: Told, agent: WorldAgent) -> list[str]:
    """Name the times in which the process did not run or stood still, and of which nothing was told."""
    stood = [(begin, end) for begin, end in agent.sleeps if end - begin > STOOD_STILL_S + WATCH_S]
    return [
        f"the agent did not run {_words((begin, end))}, told was {told.agent}"
        for begin, end in (*agent.down, *stood)
        if _longest(_without([(begin, end)], told.agent)) > INEXACT_S
    ]


def _untold_cables(told: Told, line: Line, agent: WorldAgent) -> list[str]:
    """Name the times in which the cable was out, and of which nothing was told."""
    # after its start the agent may look for a device for a while
    excused = [(start, start + GRACE_S + WATCH_S) for start in agent.starts]
    return [
        f"the cable was out {_words(away)}, told was {told.device}"
        for away in line.away
        if _longest(_without([(away[0] + NOTICED_S, away[1])], [*told.device, *told.agent, *excused])) > INEXACT_S
    ]


def _invented(told: Told, agent: WorldAgent) -> list[str]:
    """Name what was told although records could flow, or although the process ran."""
    talked = [span for span in agent.talked if span[1] - span[0] > absences.STEADY_S + INEXACT_S]
    wrong = [
        f"told was no device {_words(span)}, and it was talking {_words(talk)}"
        for span in told.device
        for talk in talked
        if min(span[1], talk[1]) - max(span[0], talk[0]) > INEXACT_S
    ]
    # the last sign of life may be as old as that
    downs = [(begin - SIGN_EVERY_S - WATCH_S, end) for begin, end in (*agent.down, *agent.sleeps)]
    wrong += [
        f"told was no agent {_words(span)}, and it ran"
        for span in told.agent
        if _longest(_without([span], downs)) > absences.STEADY_S + INEXACT_S
    ]
    return wrong


def _without(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what of the spans none of the others covers."""
    left = [span for span in spans if span[1] > span[0]]
    for begin, end in others:
        left = [
            part
            for span in left
            for part in ((span[0], min(span[1], begin)), (max(span[0], end), span[1]))
            if part[1] > part[0]
        ]
    return left


def _longest(spans: Iterable[Span]) -> float:
    return max((end - begin for begin, end in spans), default=0.0)


def _words(span: Span) -> str:
    return f"from {span[0]:.3f} to {span[1]:.3f}"
