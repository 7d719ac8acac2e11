"""Asking the running agent of this PC how it is, over its own API: what the commands do that need more than its files."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from host_agent.api.where import HOST, PORT_FILE, TOKEN_FILE


def open_answer(folder: Path, path: str, within_s: float) -> HTTPResponse:
    """Ask the agent whose data is in `folder`; OSError or ValueError when it does not answer."""
    port = (folder / PORT_FILE).read_text(encoding="ascii").strip()
    token = (folder / TOKEN_FILE).read_text(encoding="ascii").strip()
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    answer: HTTPResponse = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=within_s)
    return answer


def ask(folder: Path) -> dict[str, Any]:
    """Return the status of that agent; OSError or ValueError when it gives none."""
    with open_answer(folder, "/v1/status", 5) as answer:
        report: dict[str, Any] = json.load(answer)
        return report
