"""The comparison: what citizens were thanked for against what stands in the database, read without the collector's help.

Every thanked press must be there once, at its level, in its order, with no other case than its own; nothing else may be there; all
chains are whole, nothing is evidence, and receipts reach to the last record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from protocol.levels import Level
from protocol.payloads import Case
from simulator.chaos.citizen import Citizen, Press
from simulator.compare import Findings, Seen


class Collected(NamedTuple):
    """One collected press."""

    seq: int
    level: int
    case_no: str


def judge(citizens: Sequence[Citizen], engine: sa.Engine) -> Findings:
    """Compare everything."""
    found = Findings()
    with engine.connect() as connection:
        for citizen in citizens:
            _judge_device(found, citizen, connection)
        known = {citizen.post.device.name for citizen in citizens}
        strangers = connection.execute(sa.text("SELECT DISTINCT device FROM records")).scalars()
        found.wrong += [f"{device}: there is no such device" for device in strangers if device not in known]
        query = "SELECT kind, place, device, seq, text FROM evidence ORDER BY id"
        found.wrong += [f"evidence {kind} at {place}: {device}/{seq} {text}" for kind, place, device, seq, text in
                        connection.execute(sa.text(query))]  # fmt: skip
    return found


def _judge_device(found: Findings, citizen: Citizen, connection: sa.Connection) -> None:
    name, presses = citizen.post.device.name, citizen.presses
    collected = _collected(connection, name)
    wrong = _chain(connection, name)
    if citizen.thanked_for_nothing:
        wrong.append(f"{citizen.thanked_for_nothing} thanks without a press")
    seen = [Seen(press.at_s, press.level, press.is_thanked) for press in presses]
    if found.compare(name, seen, [one.level for one in collected]):
        strange = _strange_cases(presses, collected)
        found.altered += len(strange)
        wrong += strange
    found.wrong += [f"{name}: {text}" for text in wrong]


def _collected(connection: sa.Connection, device: str) -> list[Collected]:
    query = "SELECT seq, level, case_json FROM records WHERE device = :device AND kind IN ('rating', 'extra') ORDER BY seq"
    return [
        Collected(seq, int(Level.from_word(level)), Case.from_json(case.encode()).case_no if case else "")
        for seq, level, case in connection.execute(sa.text(query), {"device": device})
    ]


def _chain(connection: sa.Connection, device: str) -> list[str]:
    """Return what is wrong with a device's records as a whole."""
    of = {"device": device}
    rows = connection.execute(sa.text("SELECT seq, link FROM records WHERE device = :device ORDER BY seq"), of).all()
    wrong = [f"record {seq} is {link}" for seq, link in rows if link not in ("start", "linked")]
    missing = sorted({*range(1, len(rows) + 1)} - {seq for seq, _ in rows})
    if missing:
        wrong.append(f"record {missing[0]} is not in the database")
    receipted = connection.execute(sa.text("SELECT next_seq FROM positions WHERE device = :device"), of).scalars().all()
    if receipted != [len(rows) + 1]:
        wrong.append(f"{len(rows)} records, receipts say {receipted}")
    return wrong


def _strange_cases(presses: Sequence[Press], collected: Sequence[Collected]) -> list[str]:
    """Return the cases that nobody opened here, that came back, or that were opened only after the press they are with."""
    opened = {press.case_no: number for number, press in enumerate(presses) if press.case_no}
    wrong: list[str] = []
    last = -1
    for at, one in enumerate(collected):
        if not one.case_no:
            continue
        number = opened.get(one.case_no, -1)
        latest = len(presses) - (len(collected) - at)  # each later one has a press of its own after this one's
        if not last < number <= latest:
            wrong.append(f"record {one.seq} is with case {one.case_no}, which is not its own")
        last = max(last, number)
    return wrong
