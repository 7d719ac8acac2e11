"""What business systems already call: a WebSocket on loopback, usually port 1919, as older evaluators have it. Off by default.

    → {"type": 10, "TellerName": "…", "TellerNo": "017", "Timeout": 60}
    ← {"type": 10, "ret": 0, "EvaluatorLevel": 0}

`ret` is 0 for rated, -2 when nobody pressed in time, -3 when there is no device or it went away, -9 when it was withdrawn or
superseded, -1 for a request that is none. The level is 0, which no hall's table has, unless `api.show_level` is on; then it is the
number that `api.compatibility_levels` gives it. Such callers know no token, so that only the Host and Origin checks stand
before this port, and all it can do is ask the citizen. They name no case either: it is linked later or never.

The form is known from public integration code of halls, not from a specification (docs/api names what is assumed).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from host_agent.agent import Agent
from host_agent.api.guard import Guard
from host_agent.api.models import StaffNo
from host_agent.api.show import soon
from host_agent.config import ApiConfig
from host_agent.errors import RequestError
from host_agent.evaluations import EvaluationState
from protocol.levels import Level
from protocol.messages import Language

log = logging.getLogger("agent.api")

RATE = 10
RATED, WRONG, TIMED_OUT, NO_DEVICE, WITHDRAWN = 0, -1, -2, -3, -9
NOT_TOLD = 0
_RET = {
    EvaluationState.RATED: RATED,
    EvaluationState.EXPIRED: TIMED_OUT,
    EvaluationState.CANCELLED: WITHDRAWN,
    EvaluationState.DEVICE_LOST: NO_DEVICE,
    EvaluationState.ERROR: NO_DEVICE,
}
MOST_AT_ONCE = 8
LONGEST_S = 3600


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    staff: StaffNo | None = Field(default=None, alias="TellerNo")
    timeout: float = Field(default=60, alias="Timeout", gt=0, le=LONGEST_S * 1000)

    def timeout_ms(self) -> int:
        """Return the time in milliseconds: up to an hour it is taken for seconds, a larger number for milliseconds."""
        seconds = self.timeout if self.timeout <= LONGEST_S else self.timeout / 1000
        return int(max(5.0, seconds) * 1000)


class Compatibility:
    """ASGI application of that port."""

    def __init__(self, agent: Agent, settings: ApiConfig) -> None:
        self._agent = agent
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "websocket":
            await _upgrade(send)
            return
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        asked: set[asyncio.Task[None]] = set()
        try:
            while True:
                text = await socket.receive_text()
                if len(asked) >= MOST_AT_ONCE:
                    await socket.send_json({"type": RATE, "ret": WRONG, "msg": "请求过多 too many at once"})
                    continue
                task = asyncio.create_task(self._answer(socket, text))
                asked.add(task)
                task.add_done_callback(asked.discard)
        except (WebSocketDisconnect, KeyError):  # KeyError: it sends bytes
            pass
        finally:
            for task in asked:
                task.cancel()  # the citizen may press all the same, and that counts; only nobody is told

    async def _answer(self, socket: WebSocket, text: str) -> None:
        try:
            answer = await self._rated(text)
        except (ValueError, RecursionError) as error:
            self._agent.count("api_requests_invalid")
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "JSON"
            answer = {"type": RATE, "ret": WRONG, "msg": f"请求有误 the request is wrong: {why}"}
        except RequestError as error:
            answer = {"type": RATE, "ret": NO_DEVICE, "EvaluatorLevel": NOT_TOLD, "msg": str(error)}
        except TimeoutError:
            answer = {"type": RATE, "ret": NO_DEVICE, "EvaluatorLevel": NOT_TOLD}
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the caller has gone
            await socket.send_json(answer)

    async def _rated(self, text: str) -> dict[str, Any]:
        message = json.loads(text)
        if not isinstance(message, dict) or message.get("type") != RATE:
            raise ValueError("only type 10 is known")
        request = _Request.model_validate(message)
        asked = self._agent.call(
            lambda desk, now: desk.open(None, request.timeout_ms(), Language.DEVICE_SETTING, None, request.staff, now)
        )
        opened = await soon(await soon(asked))
        ended = await asyncio.wrap_future(await soon(self._agent.call(lambda desk, _now: desk.wait(opened.id))))
        level = await soon(self._agent.call(lambda desk, _now: desk.level(ended.id)))
        return {"type": RATE, "ret": _RET[ended.state], "EvaluatorLevel": self._number(level)}

    def _number(self, level: Level | None) -> int:
        return NOT_TOLD if level is None else self._settings.compatibility_levels[Level.VERY_SATISFIED - level]


def make_compatible(agent: Agent, settings: ApiConfig) -> Guard:
    """Return the application behind its checks."""
    return Guard(Compatibility(agent, settings), token=None, origins=settings.origins)


async def _upgrade(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"upgrade", b"websocket")]
    start: Message = {"type": "http.response.start", "status": 426, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": "此端口只有 WebSocket this port speaks WebSocket only\n".encode()})
