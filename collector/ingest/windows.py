"""Who is at a window: the last state and numbers of its agent.

A will may overtake, or be overtaken by, the state of the next connection. Each names its session: the goodbye of an older
session than the current one changes nothing, nor do numbers of a session that is not the current one.
Called by ingest/core inside the batch's transaction; pure over the store.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from collector.store import standing
from protocol.payloads import Health, State
from protocol.topics import Window

SILENT_MS = 90_000
"""A session that lives has said something within this time: its numbers every few seconds, its state every minute."""


def take_state(connection: sa.Connection, place: Window, state: State, now_ms: int) -> bool:
    """Note a state or will; False when it is of an older session and was ignored."""
    known = standing.window(connection, place)
    if known is not None and known["session"] != state.session and _is_older(known, state, now_ms):
        return False
    values: dict[str, Any] = {
        "session": state.session,
        "online": state.online,
        "since_ms": state.since_ms,
        "heard_ms": now_ms,
        "agent": state.agent,
    }
    if state.device is not None or state.online:
        device = state.device
        values |= {
            "device": device.device if device else None,
            "firmware": device.firmware if device else None,
            "boot": device.boot if device else None,
            "release_on_ack": device.release_on_ack if device else None,
        }
    if known is None or known["session"] != state.session:
        values["previous_session"] = known["session"] if known else None
    standing.save_window(connection, place, values, new=known is None)
    return True


def take_health(connection: sa.Connection, place: Window, health: Health, now_ms: int) -> bool:
    """Note the numbers of the current session; False for those of any other."""
    known = standing.window(connection, place)
    if known is None or known["session"] != health.session:
        return False
    values = {
        "heard_ms": now_ms,
        "health_at_ms": health.at_ms,
        "journal_waiting": health.journal_waiting,
        "journal_free": health.journal_free,
        "outbox_to_send": health.outbox_to_send,
        "outbox_sent": health.outbox_sent,
        "oldest_waiting_ms": health.oldest_waiting_ms,
        "device_health": health.device.to_json().decode() if health.device else None,
    }
    standing.save_window(connection, place, values, new=False)
    return True


def _is_older(known: dict[str, Any], state: State, now_ms: int) -> bool:
    """Tell whether a state of another session comes from before the known one.

    A hello of a session never seen is newer, even when the agent's clock has been set back; a goodbye must also be later.
    A hello of the session before the known one is a late delivery, unless the known one is silent: then that was the one that
    came late (the clock of its agent was wrong), for an agent repeats its hello as long as it lives.
    """
    if state.online:
        return bool(state.session == known["previous_session"] and abs(now_ms - known["heard_ms"]) <= SILENT_MS)
    return bool(state.since_ms < known["since_ms"] or state.session == known["previous_session"])
