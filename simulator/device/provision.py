"""Provision a simulated device: what a technician's tool does for a real one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from protocol.signing import derive_device_key


def provision(path: Path, device: str, hall_key: bytes, **settings: int | bool) -> None:
    """Write the identity file of `device` at `path`, readable by nobody else; an existing one is kept as it is."""
    if path.exists():
        return
    facts = {"device": device, "key": derive_device_key(hall_key, device).hex(), "journals": 0, "settings": settings}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(facts, file)
