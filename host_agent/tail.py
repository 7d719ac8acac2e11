"""Watching a running agent: every frame on the line and every event of the window, as they happen.

Over the agent's own API, so that nothing has to be stopped. A level is shown nowhere. Called by the command `agent tail`.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from host_agent.asking import open_answer
from host_agent.errors import AgentError

SILENT_S = 40.0
"""The agent says something at least every 15 s."""


def lines(folder: Path) -> Iterator[str]:
    """Yield a line for each frame and event of the agent on this folder, until it stops; AgentError when it does not run."""
    try:
        answer = open_answer(folder, "/v1/trace", SILENT_S)
    except PermissionError as error:
        raise AgentError(f"无权读取令牌文件 no right to read {error.filename}; run this as the agent's account") from error
    except urllib.error.HTTPError as error:
        with error:
            raise AgentError(str(json.load(error)["message"])) from error
    except (OSError, ValueError) as error:
        raise AgentError("代理程序未运行，请先启动 the agent is not running; start it: agent run --config …") from error
    with answer:
        try:
            yield from _read(answer)
        except (OSError, http.client.HTTPException):
            return  # it was killed


def _read(answer: Any) -> Iterator[str]:
    name = ""
    for raw in answer:
        field, _, value = raw.decode("utf-8").rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = json.loads(value)
            yield f"{datetime.now():%H:%M:%S.%f}"[:-3] + " " + (data["text"] if name == "frame" else f"* {name} {_words(data)}")


def _words(data: dict[str, Any]) -> str:
    shown = {key: _named(value) for key, value in data.items() if value is not None and key not in ("follow_up_url", "level")}
    return " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in shown.items())


def _named(value: Any) -> Any:
    """Return a case without what it does not name."""
    return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value
