"""What must be true in the end: every thanked press collected exactly once, at its level, in its order, and nothing else.

The oracle has seen the lamps and the buttons and nothing of the programs. A press in whose very moment the power went may have
been recorded or not: both are right, being thanked and not collected never is.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from collector.store.database import Database
from protocol.levels import Level
from protocol.record import Kind
from simulator.world.device import Press, WorldDevice


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle found at one device; empty `wrong` is right."""

    device: str
    thanked: int
    collected: int
    wrong: list[str]


def judge(device: WorldDevice, database: Database) -> Verdict:
    """Compare what the citizen saw with what the collection holds."""
    with database.reader.connect() as connection:
        levels = [
            int(Level.from_word(row[0]))
            for row in connection.execute(
                sa.text("SELECT level FROM records WHERE device = :device AND kind IN (:rating, :extra) ORDER BY seq"),
                {"device": device.name, "rating": Kind.RATING.name.lower(), "extra": Kind.EXTRA.name.lower()},
            )
        ]
        evidence = connection.execute(sa.text("SELECT kind, count(*) FROM evidence GROUP BY kind")).all()
    wrong = [f"evidence {kind}: {count}" for kind, count in evidence]
    mismatch = _mismatch(device.presses, levels)
    if mismatch:
        wrong.append(mismatch)
    if device.device is not None:
        journal = device.device.journal
        if journal.receipt_seq != journal.next_seq:
            wrong.append(f"records {journal.receipt_seq} to {journal.next_seq - 1} have no receipt")
    return Verdict(device.name, sum(press.is_thanked for press in device.presses), len(levels), wrong)


def _mismatch(presses: list[Press], levels: list[int]) -> str:
    """Return where the two part, walking both; presses that nobody knows of may be missing."""
    reachable = {0}  # how many levels can be explained by the presses so far
    for number, press in enumerate(presses):
        after = {at + 1 for at in reachable if at < len(levels) and levels[at] == press.level}
        if not press.is_thanked:
            after |= reachable
        if not after:
            return f"press {number + 1} of {len(presses)} (level {press.level}) is not where it belongs in {levels}"
        reachable = after
    if len(levels) not in reachable:
        return f"{len(levels)} collected, {max(reachable)} pressed"
    return ""
