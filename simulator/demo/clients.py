"""The demo's two HTTP clients: a business system at the agent's API, an officer at the collector's."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

TIMEOUT_S = 30.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AgentClient:
    """Calls the agent's local API the way a business system does."""

    def __init__(self, url: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._token = token

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer's JSON; urllib's HTTPError for a refusal."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with _OPENER.open(request, timeout=self._timeout_s) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def collected(url: str, page: int = 500) -> list[dict[str, Any]]:
    """Return everything the collector has stored about presses, oldest first."""
    items: list[dict[str, Any]] = []
    after = 0
    while True:
        with _OPENER.open(f"{url}/api/v1/ratings?after={after}&limit={page}", timeout=TIMEOUT_S) as answer:
            found = json.load(answer)
        if not found["items"]:
            return items
        items += found["items"]
        after = found["next"]


def summary(url: str) -> dict[str, Any]:
    """Return the collector's summary."""
    with _OPENER.open(f"{url}/api/v1/summary", timeout=TIMEOUT_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
