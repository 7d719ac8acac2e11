"""All targets, by name. A module is imported only when one of its targets is wanted: importing under instrumentation is slow."""

from __future__ import annotations

from importlib import import_module

from tools.fuzz.target import Target

MODULES = {
    "frames": "line",
    "messages": "line",
    "conversation": "line",
    "records": "records",
    "events": "records",
    "device": "device",
    "mqtt": "broker",
    "requests": "requests",
    "agent-api": "agent_api",
    "pages": "pages",
}


def target(name: str) -> Target:
    """Return a target; KeyError for a name that is none."""
    found: tuple[Target, ...] = import_module(f"tools.fuzz.{MODULES[name]}").TARGETS
    return next(one for one in found if one.name == name)
