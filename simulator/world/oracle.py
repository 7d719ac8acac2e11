"""What must be true whenever a world has come to rest: every thanked press collected exactly once, as it was given, and nothing else.

The oracle has seen the lamps, the buttons and what was forged, and compares them with the collection; of the programs it only asks
whether they have come to rest. A press in whose very moment the power went may have been recorded or not: both are right, being
thanked and not collected never is.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import sqlalchemy as sa

from collector.ingest.core import Message
from collector.ingest.evidence import EvidenceKind
from collector.store.ratings import level_counts
from host_agent.evaluations import EvaluationState
from host_agent.store.late_cases import KEPT, REFUSED
from protocol.levels import Level
from protocol.payloads import Case
from protocol.record import Kind
from protocol.signing import context_digest
from simulator.compare import Findings, Seen
from simulator.world.agent import WorldAgent
from simulator.world.collector import WorldCollector, new_database
from simulator.world.device import WorldDevice
from simulator.world.scheduler import EPOCH_MS

REPLAYED_AT_ONCE = 200
ABSENCE = EvidenceKind.ABSENCE.value
"""Judged with the absences of its window (see absences)."""
_PRESSED = (Kind.RATING.name.lower(), Kind.EXTRA.name.lower())
_RECORDS = sa.text(
    "SELECT level, evaluation, context_digest, case_json, case_matches FROM records"
    " WHERE device = :device AND kind IN (:rating, :extra) ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class Collected:
    """One collected press."""

    level: int
    evaluation: str
    digest: str
    case_json: str | None


def judge_devices(devices: Iterable[WorldDevice], collector: WorldCollector) -> Findings:
    """Compare what the citizens saw with what the collection holds."""
    found = Findings()
    assert collector.database is not None, "settle comes first"  # noqa: S101  # a programming error, not input
    with collector.database.reader.connect() as connection:
        for device in devices:
            _judge_device(found, device, _collected(connection, device.name))
        found.wrong += [f"evidence {text}" for text in _evidence(connection, collector)]
    return found


def _collected(connection: sa.Connection, device: str) -> list[Collected]:
    rows = connection.execute(_RECORDS, {"device": device, "rating": _PRESSED[0], "extra": _PRESSED[1]})
    return [Collected(int(Level.from_word(row[0])), row[1] or "", row[2] or "", row[3]) for row in rows]


def _judge_device(found: Findings, device: WorldDevice, collected: list[Collected]) -> None:
    wrong = found.wrong
    seen = [Seen(press.at_s, (press.level, press.evaluation), press.is_thanked) for press in device.presses]
    found.compare(device.name, seen, [(one.level, one.evaluation) for one in collected])
    if not device.has_all_receipts:
        journal = device.device.journal if device.device is not None else None
        numbers = f"records {journal.receipt_seq} to {journal.next_seq - 1}" if journal else "it has no power and its records"
        wrong.append(f"{device.name}: {numbers} have no receipt")
    if device.wrongly_refused:
        wrong.append(f"{device.name}: {device.wrongly_refused} presses were refused although there was room")
    windows = {(press.evaluation, press.digest): press.window for press in device.presses if press.evaluation}
    for one in collected:
        if one.case_json is None:
            continue
        case = Case.from_json(one.case_json.encode())
        if context_digest(bytes.fromhex(one.evaluation), case.fields()).hex() != one.digest:
            wrong.append(f"{device.name}: the rating of {one.evaluation[:8]} is with case {case.case_no}, which is not its own")
            found.altered += 1
        # business systems of this world name the window in the number of the case
        elif (window := windows.get((one.evaluation, one.digest))) and not case.case_no.startswith(f"BJ-{window}-"):
            wrong.append(f"{device.name}: case {case.case_no} was rated at window {window}")
            found.altered += 1


def _evidence(connection: sa.Connection, collector: WorldCollector) -> list[str]:
    """Return the evidence that nothing accounts for, and the forgeries of which there is none."""
    kept = {
        (row[0], row[1]): row[2]
        for row in connection.execute(sa.text("SELECT kind, topic, count(*) FROM evidence GROUP BY kind, topic"))
    }
    came = [(message, kind) for message, kind in collector.forged.items() if message in collector.messages]
    due = Counter((kind.value, message.topic) for message, kind in came)
    wrong = [
        f"{kind} on {topic}: {kept[kind, topic]} without cause"
        for kind, topic in kept
        if not due[kind, topic] and kind != ABSENCE
    ]
    # the same words forged twice are one piece of evidence, and a level forged right is none at all
    missing = [f"{kind} on {topic}: none kept of {due[kind, topic]}" for kind, topic in due if not kept.get((kind, topic))]
    return wrong + missing


def judge_agents(agents: Iterable[WorldAgent], collector: WorldCollector) -> list[str]:
    """Compare what business systems are told with what is collected: rated is what has a rating, and nothing stays open."""
    wrong: list[str] = []
    assert collector.database is not None, "settle comes first"  # noqa: S101  # a programming error, not input
    with collector.database.reader.connect() as connection:
        rated = {row[0] for row in connection.execute(sa.text("SELECT evaluation FROM records WHERE kind = 'rating'"))}
    for agent in agents:
        wrong += agent.crashes
        if agent.agent is None:
            wrong.append(f"{agent.who} does not run")
            continue
        for evaluation, state in _evaluations(agent):
            if EvaluationState(state) is EvaluationState.RATED and evaluation not in rated:
                wrong.append(f"{agent.who}: evaluation {evaluation[:8]} is said to be rated and is not")
            if not EvaluationState(state).is_final:
                wrong.append(f"{agent.who}: evaluation {evaluation[:8]} is still {state}")
    return wrong


def _evaluations(agent: WorldAgent) -> list[tuple[str, str]]:
    """Return id and state of every evaluation; nothing where damage to the database has not been met by anybody yet."""
    assert agent.agent is not None  # noqa: S101  # the caller has looked
    try:
        return agent.agent._writer.connection.execute("SELECT id, state FROM evaluations").fetchall()
    except sqlite3.Error:
        if agent.is_damaged:
            return []
        raise


def late_case(device: str, seq: int) -> str:
    """Return the number of the case that clerks of this world name for a rating afterwards."""
    return f"late-{device}-{seq}"


def judge_late_cases(window: str, agent: WorldAgent, named: set[tuple[str, int]], collector: WorldCollector) -> list[str]:
    """Compare the cases that a clerk has named afterwards with those that the collection has from this window.

    Until it is collected a late case is nowhere but on the PC's disk, so one that was lost with that disk is no fault.
    """
    assert collector.database is not None, "settle comes first"  # noqa: S101  # a programming error, not input
    query = sa.text('SELECT device, seq, case_json FROM late_cases WHERE "window" = :window')
    with collector.database.reader.connect() as connection:
        rows = connection.execute(query, {"window": window}).all()
    collected = {(device, seq): Case.from_json(case.encode()).case_no for device, seq, case in rows}
    wrong = [f"window {window}: {at} is with case {case}" for at, case in collected.items() if case != late_case(*at)]
    for device, seq, _, state in agent.late_cases():
        if state == KEPT and (device, seq) not in collected:
            wrong.append(f"window {window}: the late case of {device}/{seq} is said to be collected and is not")
        elif state == REFUSED:
            wrong.append(f"window {window}: the late case of {device}/{seq} was refused")
    if not agent.has_lost_data:
        wrong += [
            f"window {window}: the late case of {at} was taken and is not collected" for at in sorted(named - collected.keys())
        ]
    return wrong


def judge_windows(connection: sa.Connection, posts: Iterable[tuple[str, str]]) -> list[str]:
    """Compare who is said to be at each window, (number, device), with who is."""
    rows = connection.execute(sa.text('SELECT "window", online, device FROM windows'))
    said = {window: (bool(online), device) for window, online, device in rows}
    return [
        f"window {window} is shown as {said.get(window)}, there is {device}"
        for window, device in posts
        if said.get(window) != (True, device)
    ]


def judge_replay(collector: WorldCollector, random: Random) -> list[str]:
    """Give everything that was ever received to the collection once more, and to an empty one in another order: the same totals."""
    assert collector.database is not None, "settle comes first"  # noqa: S101  # a programming error, not input
    now_ms = collector.clock().utc_ms
    messages = list(collector.messages)
    random.shuffle(messages)
    empty = new_database(collector.database.path.parent / "again")
    try:
        before = _totals(collector.database.reader)
        _replay(collector.database.writer, collector, messages, now_ms)
        after = _totals(collector.database.reader)
        _replay(empty.writer, collector, messages, now_ms)
        again = _totals(empty.reader)
    except sa.exc.DBAPIError as error:
        return [f"a replay fails: {error.orig}"]
    finally:
        empty.close()
    wrong = [] if before == after else [f"after a replay: {_difference(before, after)}"]
    return wrong if again == before else [*wrong, f"in another order: {_difference(before, again)}"]


def _replay(engine: sa.Engine, collector: WorldCollector, messages: list[Message], now_ms: int) -> None:
    ingest = collector.new_ingest(engine)
    for at in range(0, len(messages), REPLAYED_AT_ONCE):
        ingest.take(messages[at : at + REPLAYED_AT_ONCE], max(now_ms, EPOCH_MS))


def _totals(engine: sa.Engine) -> dict[str, Any]:
    """Return what a report is made of: levels that count, every record with its link, every case."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT device, seq, mac, link, replaced_by, case_matches FROM records"))
        records = {(row[0], row[1]): (bytes(row[2]), *row[3:]) for row in rows}
        return {"levels": level_counts(connection), "records": records}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    differing = [
        key
        for key in before["records"].keys() | after["records"].keys()
        if before["records"].get(key) != after["records"].get(key)
    ]
    some = ", ".join(f"{key}: {before['records'].get(key)} / {after['records'].get(key)}" for key in sorted(differing)[:3])
    return f"levels {before['levels']} / {after['levels']}, {len(differing)} records differ: {some}"
