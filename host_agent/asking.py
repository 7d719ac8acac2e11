"""Asking the running agent of this PC how it is, over its own API: what the commands do that need more than its files."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from host_agent.api.where import HOST, PORT_FILE, TOKEN_FILE


def ask(folder: Path) -> dict[str, Any]:
    """Return the status of the agent whose data is in `folder`; OSError or ValueError when it gives none."""
    port = (folder / PORT_FILE).read_text(encoding="ascii").strip()
    token = (folder / TOKEN_FILE).read_text(encoding="ascii").strip()
    address = f"http://{HOST}:{port}/v1/status"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # http, on loopback
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        report: dict[str, Any] = json.load(answer)
        return report
