"""The thread between the broker and the store: gather what has arrived, store it, acknowledge, publish receipts.

A batch is whatever is waiting, at most BATCH: a single record is committed at once, a flood in large transactions. While the
database fails (disk full, locked), the same batch is tried again and nothing is acknowledged. A message at which the
program itself fails is set aside alone, so that it cannot hold up the others. Called by service.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from collector.ingest.core import Ingest, Taken
from collector.ingest.counters import Counters
from collector.ingest.mqtt import Broker, Delivery
from collector.ingest.notices import Notices
from collector.store.trouble import is_about_the_data, sentence

log = logging.getLogger(__name__)

BATCH = 1000
RETRY_MIN_S, RETRY_MAX_S = 0.2, 10.0


def now_ms() -> int:
    """Return the time, UTC milliseconds."""
    return time.time_ns() // 1_000_000


class Pipeline:
    """Runs from `start` to `stop`; `on_commit` is called on its thread after each batch."""

    def __init__(self, broker: Broker, ingest: Ingest, counters: Counters, on_commit: Callable[[], None]) -> None:
        self._broker = broker
        self._ingest = ingest
        self._counters = counters
        self._on_commit = on_commit
        self._notices = Notices()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand and end; what is still queued was not acknowledged and comes again."""
        self._stopping.set()
        self._broker.inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            batch = self._gather()
            if batch and not self._stopping.is_set():
                self._handle(batch)

    def _gather(self) -> list[Delivery]:
        """Wait for one delivery, then take what else is there."""
        inbox = self._broker.inbox
        batch: list[Delivery] = []
        delivery = inbox.get()
        while delivery is not None:
            batch.append(delivery)
            if len(batch) == BATCH:
                break
            try:
                delivery = inbox.get_nowait()
            except queue.Empty:
                break
        return batch

    def _handle(self, batch: list[Delivery]) -> None:
        try:
            self._store(batch)
        except Exception:
            # whatever it is, it must not end the thread on which all ratings depend
            if len(batch) > 1:
                for delivery in batch:
                    self._handle([delivery])
                return
            self._counters.one("set_aside")
            log.exception("a message on %s cannot be handled; it is set aside, report this", batch[0].message.topic)
            self._broker.acknowledge(batch)

    def _store(self, batch: list[Delivery]) -> None:
        wait_s, retried = RETRY_MIN_S, False
        while True:
            try:
                taken = self._ingest.take([delivery.message for delivery in batch], now_ms())
                break
            except sa.exc.DBAPIError as error:
                if is_about_the_data(error):
                    raise
                self._counters.one("store_retries")
                log.error("%s; trying again in %.1f s", sentence(error), wait_s)
                if self._stopping.wait(wait_s):
                    return
                wait_s = min(wait_s * 2, RETRY_MAX_S)
                retried = True
        if retried:
            log.info("数据库已恢复 the database takes writes again")
        self._broker.acknowledge(batch)
        self._broker.publish(taken.publish)
        self._counters.add(taken.counts)
        self._counters.one("batches")
        self._tell(taken)
        self._on_commit()

    def _tell(self, taken: Taken) -> None:
        for item in taken.evidence:
            place = item.window.path if item.window else item.topic[:80]
            held_back = self._notices.tell(item.kind.value, place, now_ms())
            if held_back is not None:
                more = f" ({held_back} more like it before)" if held_back else ""
                log.warning(
                    "%s %s at %s, device %s record %s: %s%s; %s",
                    item.kind.chinese,
                    item.kind.value,
                    ascii(place)[1:-1],
                    item.device or "-",
                    item.seq or "-",
                    item.text,
                    more,
                    item.kind.advice,
                )
