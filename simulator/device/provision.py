"""Provision a simulated device: what a technician's tool does for a real one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from protocol.signing import derive_device_key
from simulator.device.engine import DeviceFailed


def provision(path: Path, device: str, hall_key: bytes, **settings: int | bool) -> None:
    """Write the identity file of `device` at `path`, readable by nobody else; an existing one is kept as it is.

    DeviceFailed when it was provisioned for another hall: its journal is signed with that key.
    """
    key = derive_device_key(hall_key, device).hex()
    if path.exists():
        if json.loads(path.read_text(encoding="ascii")).get("key") != key:
            raise DeviceFailed(
                f"{path} 已用另一大厅密钥发放，请用原密钥，或用 --folder 另选目录 was provisioned with another hall key: "
                "give that --hall-key, or choose another --folder"
            )
        return
    facts = {"device": device, "key": key, "journals": 0, "settings": settings}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(facts, file)
