"""How things stand: devices with their positions, windows with what waits there.

`waiting` sums what agents last reported: records in the device that the agent has not, and records at the agent that have no
receipt. All queries take a reading connection. Called by pages.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from collector.store import ratings
from collector.store.tables import positions, windows


def windows_now(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return every window ever heard, by place."""
    shown = []
    # sorted here: a database server has an alphabet of its own
    rows = connection.execute(sa.select(windows)).mappings()
    for row in sorted(rows, key=lambda row: (row["area"], row["hall"], row["window"])):
        item = dict(row)
        for hidden in ("previous_session", "session"):
            item.pop(hidden)
        told = item.pop("device_health")
        item["health"] = json.loads(told) if told else None
        at_agent = [item["outbox_to_send"], item["outbox_sent"]]
        item["place"] = f"{item.pop('area')}/{item.pop('hall')}/{item['window']}"
        item["waiting_device"] = item["journal_waiting"]
        item["waiting_agent"] = None if None in at_agent else sum(at_agent)
        shown.append(item)
    return shown


def devices_now(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return each device's newest journal: what its next receipt says, and how many gaps it has."""
    newest = sa.select(positions.c.device, sa.func.max(positions.c.journal).label("journal")).group_by(positions.c.device)
    newest_of = newest.subquery()
    same = sa.and_(positions.c.device == newest_of.c.device, positions.c.journal == newest_of.c.journal)
    query = sa.select(positions).join(newest_of, same)
    missing: dict[str, int] = {}
    for gap in ratings.gaps(connection):
        missing[gap.device] = missing.get(gap.device, 0) + 1
    return [
        {
            "device": row["device"],
            "place": f"{row['area']}/{row['hall']}/{row['window']}",
            "next_seq": row["next_seq"],
            "vouched_seq": row["vouched_seq"],
            "heard_ms": row["heard_ms"],
            "gaps": missing.get(row["device"], 0),
        }
        for row in sorted(connection.execute(query).mappings(), key=lambda row: row["device"])
    ]


def summary(connection: sa.Connection) -> dict[str, Any]:
    """Return the numbers of the live page."""
    places = windows_now(connection)
    levels = ratings.level_counts(connection)
    return {
        "levels": levels,
        "ratings": sum(levels.values()),
        "evidence": ratings.evidence_counts(connection),
        "gaps": len(ratings.gaps(connection)),
        "windows": places,
        "devices": devices_now(connection),
        "waiting": {
            "device": sum(item["waiting_device"] or 0 for item in places),
            "agent": sum(item["waiting_agent"] or 0 for item in places),
        },
        "position": ratings.last_position(connection),
    }
