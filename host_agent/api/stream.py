"""Telling listeners what happens at the window: the same events as server-sent events and over a WebSocket.

Notices come from the agent's thread and are sent from the server's; a listener that does not keep up is cut off, and one that comes
back with the id of the last event that it has seen hears what it has missed, or, if that is too long ago, how things are now. Ids
are `run-number`: numbers begin anew with each run of the agent, and so does the run's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from pydantic import BaseModel

from host_agent.agent import Agent
from host_agent.api.models import FrameAnswer, FreeRatingAnswer, WindowAnswer
from host_agent.api.show import Show, soon
from host_agent.desk import Desk
from host_agent.errors import RequestError
from host_agent.notices import Entry, EvaluationChanged, FreeRatingGiven, Notice

HEARTBEAT_S = 15.0
MOST_WAITING = 256
_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Happened:
    """One event, ready to be sent."""

    id: str
    name: str
    data: BaseModel

    def as_sse(self) -> str:
        """Return it as a server-sent event."""
        numbered = f"id: {self.id}\n" if self.id else ""
        return f"{numbered}event: {self.name}\ndata: {self.data.model_dump_json()}\n\n"

    def as_message(self) -> str:
        """Return it as a message of a WebSocket."""
        return f'{{"id":"{self.id}","event":"{self.name}","data":{self.data.model_dump_json()}}}'


class _Mailbox:
    """Where the agent's thread leaves entries for one listener in the server's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._entries: deque[Entry | str] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def tell(self, entry: Entry | str) -> None:
        """Leave an entry, or a line of the trace; from the agent's thread."""
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._put, entry)

    def _put(self, entry: Entry | str) -> None:
        if len(self._entries) >= MOST_WAITING:
            self.close()
        else:
            self._entries.append(entry)
            self._changed.set()

    def close(self) -> None:
        """Give nothing more out."""
        self.closed = True
        self._changed.set()

    async def take(self) -> Entry | str | None:
        """Return the next entry, None when there is none for a while or no more will come."""
        if not self._entries and not self.closed:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), HEARTBEAT_S)
        return self._entries.popleft() if self._entries and not self.closed else None


class Streams:
    """All listeners of one server."""

    def __init__(self, agent: Agent, show: Show) -> None:
        self._agent = agent
        self._show = show
        self._run = secrets.token_hex(4)
        self._mailboxes: set[_Mailbox] = set()

    def close(self) -> None:
        """End every stream; in the server's loop."""
        for mailbox in list(self._mailboxes):
            mailbox.close()

    async def window(self, last_id: str | None = None) -> AsyncGenerator[Happened | None, None]:
        """Begin to listen to everything at the window, from after `last_id` or with how things are now.

        The generator yields None every now and then when nothing happens, and ends when the server does or the listener lags.
        RequestError 503 when too many listen.
        """
        mailbox = _Mailbox()
        first = await soon(self._agent.call(lambda desk, _now: _begin(desk, mailbox, self._number(last_id))))
        return await self._begun(self._told(mailbox, first, None))

    async def evaluation(self, evaluation_id: str) -> AsyncGenerator[Happened | None, None]:
        """Begin to listen to one evaluation, as it is now and until it has ended; RequestError 404 and 503."""
        mailbox = _Mailbox()

        def begin(desk: Desk) -> list[Entry]:
            now_is = Entry(desk.notices.number, EvaluationChanged(desk.get(evaluation_id)))
            _listen(desk, mailbox)
            return [now_is]

        first = await soon(self._agent.call(lambda desk, _now: begin(desk)))
        return await self._begun(self._told(mailbox, first, evaluation_id))

    async def trace(self) -> AsyncGenerator[Happened | None, None]:
        """Begin to listen to everything at the window and every frame on the line; RequestError 503 when too many do."""
        mailbox = _Mailbox()

        def begin(desk: Desk) -> list[Entry]:
            first = _begin(desk, mailbox, None)
            try:
                desk.trace.watch(mailbox.tell)
            except RequestError:
                desk.notices.leave(mailbox.tell)
                raise
            return first

        first = await soon(self._agent.call(lambda desk, _now: begin(desk)))
        return await self._begun(self._told(mailbox, first, None))

    async def _begun(self, events: AsyncGenerator[Happened | None, None]) -> AsyncGenerator[Happened | None, None]:
        """Step to the first yield: a generator that was never begun is not ended either, and would go on listening."""
        await anext(events)
        return events

    async def _told(
        self, mailbox: _Mailbox, first: list[Entry], evaluation_id: str | None
    ) -> AsyncGenerator[Happened | None, None]:
        self._mailboxes.add(mailbox)
        waiting: deque[Entry | str] = deque(first)
        try:
            yield None
            while not mailbox.closed:
                entry = waiting.popleft() if waiting else await mailbox.take()
                if entry is None:
                    yield None
                elif isinstance(entry, str):
                    yield Happened("", "frame", FrameAnswer(text=entry))
                elif evaluation_id is None:
                    yield await self._happened(entry)
                elif isinstance(entry.notice, EvaluationChanged) and entry.notice.evaluation.id == evaluation_id:
                    yield await self._happened(entry)
                    if entry.notice.evaluation.state.is_final:
                        return
        finally:
            self._mailboxes.discard(mailbox)
            self._agent.call(lambda desk, _now: _leave(desk, mailbox))

    async def _happened(self, entry: Entry) -> Happened:
        name, data = await self._shown(entry.notice)
        return Happened(f"{self._run}-{entry.number}", name, data)

    async def _shown(self, notice: Notice) -> tuple[str, BaseModel]:
        if isinstance(notice, EvaluationChanged):
            return "evaluation", await self._show(notice.evaluation)
        if isinstance(notice, FreeRatingGiven):
            return "free_rating", FreeRatingAnswer.of(notice)
        return "window", WindowAnswer.of(notice)

    def _number(self, last_id: str | None) -> int | None:
        """Return the number in an id of this run, None for any other text."""
        match = _ID.fullmatch(last_id or "")
        return int(match[2]) if match and match[1] == self._run else None


def _leave(desk: Desk, mailbox: _Mailbox) -> None:
    desk.notices.leave(mailbox.tell)
    desk.trace.leave(mailbox.tell)


def _begin(desk: Desk, mailbox: _Mailbox, after: int | None) -> list[Entry]:
    """Listen from now on; return what was missed, or how things are."""
    notices = desk.notices
    missed = notices.since(after) if after is not None else None
    if missed is None:
        missed = [Entry(notices.number, desk.window())]
        if (evaluation := desk.open_evaluation()) is not None:
            missed.append(Entry(notices.number, EvaluationChanged(evaluation)))
    _listen(desk, mailbox)
    return missed


def _listen(desk: Desk, mailbox: _Mailbox) -> None:
    if not desk.notices.listen(mailbox.tell):
        raise RequestError(503, "too_many_listeners", "监听过多，请关闭多余页面 too many listen already; close some pages")
