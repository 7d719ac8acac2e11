"""The event stream: everything new since what a reader has seen, then the numbers, then silence until the next commit.

Each event's id is a cursor into the store; a browser sends the last one back when it reconnects and misses nothing. A stream
ends when the collector stops, so that stopping never waits for a reader. Called by pages/app.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from collector.pages.live import SUMMARY_EVERY_S, Cursor, Live

HEARTBEAT_S = 15.0
RETRY_MS = 2000
MOST_READERS = 64


async def stream(live: Live, cursor: Cursor | None) -> AsyncIterator[str]:
    """Yield the text of the stream from beyond `cursor`, or from a page full before now."""
    watch = live.watch()
    try:
        yield f"retry: {RETRY_MS}\n\n"
        at = await run_in_threadpool(live.first_cursor) if cursor is None else cursor
        while not live.closed:
            watch.clear()
            while not live.closed:
                events, at = await run_in_threadpool(live.news, at)
                for event in events:
                    yield _text(event.name, event.data, event.cursor)
                if not events:
                    break
            yield _text("summary", await run_in_threadpool(live.summary), at)
            if not await _wait(watch, HEARTBEAT_S):
                yield ": here\n\n"
            elif not live.closed:
                # what was committed at once is told at once; only the numbers are held to their pace
                events, at = await run_in_threadpool(live.news, at)
                for event in events:
                    yield _text(event.name, event.data, event.cursor)
                await asyncio.sleep(0 if live.closed else SUMMARY_EVERY_S)
    except sa.exc.DBAPIError:
        return  # the database is away, which the pipeline says; the browser comes back by itself
    finally:
        live.unwatch(watch)


async def _wait(watch: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(watch.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


def _text(name: str, data: object, cursor: Cursor) -> str:
    return f"id: {cursor}\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
