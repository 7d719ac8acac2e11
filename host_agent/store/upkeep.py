"""What is delivered is forgotten in time: after so many days, when the database is too large, when the disk has little room.

Records without a receipt are never deleted, whatever the bounds say; when they alone are more than `most_bytes`, that is told and
nothing else happens. The oldest delivered ones go first, few at a time, so that a rating does not wait for it: 50 records with
their evaluations take about as long as a few commits (10 ms on two busy cores), where deleting 150,000 at once took 1.7 s.

The bound counts pages that are in use. A page that becomes free is used again before the file grows, so the file stays where it
was at its largest; giving pages back to the disk would take a VACUUM at the start (2 s for 250 MB, and the same room once more).
On a disk that is almost full free pages are what new records need: then some are kept in stock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from host_agent.instant import Instant
from host_agent.store.damage import content_checked
from host_agent.store.database import Writer
from host_agent.store.schema import DISPUTED, RECEIPTED

DELETE_AT_ONCE: Final = 50
LOOK_AT_ONCE: Final = 500
STEP_EVERY_S: Final = 1.0
"""Between two steps while there is more to do."""
LOOK_EVERY_S: Final = 60.0
WALK_EVERY_S: Final = 6 * 3600.0
LITTLE_ROOM_BYTES: Final = 50_000_000
STOCK_BYTES: Final = 2_000_000
"""Free pages that are kept in the file while its disk has little room: about 2,000 ratings."""
LATE_MS: Final = 7 * 86_400_000
"""An ended evaluation of which no record is here is kept at least so long: a record may still come, and needs the case."""

_DELIVERED = (
    "state >= :receipted AND NOT EXISTS (SELECT 1 FROM records o WHERE o.device = records.device"
    " AND o.seq BETWEEN records.seq - 1 AND records.seq AND o.state < :receipted)"
)
"""Of two records with one number, the receipted one and the one chained to it decide about the other: they stay while it waits."""
_ENDED = "state NOT IN ('opening', 'opened') AND NOT EXISTS (SELECT 1 FROM records WHERE records.evaluation = evaluations.id)"


class Upkeep:
    """Deletes what has been delivered; belongs to the writer's thread."""

    def __init__(self, writer: Writer, keep_ms: int, most_bytes: int, free_bytes: Callable[[], int]) -> None:
        self._writer = writer
        self._keep_ms = keep_ms
        self.most_bytes = most_bytes
        self._free_bytes = free_bytes
        self._step_s = self._look_s = self._walk_s = 0.0
        self._walks = False
        self._after_record = self._after_evaluation = 0
        self._is_short_of_room = False

    def step(self, now: Instant) -> int:
        """Do a little of what is due; return how many records were deleted."""
        if now.mono_s < self._step_s:
            return 0
        if not self._walks and now.mono_s >= self._walk_s:
            self._walks, self._walk_s = True, now.mono_s + WALK_EVERY_S
            self._after_record = self._after_evaluation = 0
        self._step_s = now.mono_s + STEP_EVERY_S
        if now.mono_s >= self._look_s:
            self._look_s = now.mono_s + LOOK_EVERY_S
            self._is_short_of_room = self._free_bytes() < LITTLE_ROOM_BYTES
        is_over = self.is_over()
        deleted = self._delete_oldest() if is_over else 0
        if not deleted and self._walks:
            deleted = self._walk(now.utc_ms - self._keep_ms, now.utc_ms - (LATE_MS if is_over else self._keep_ms))
        elif not deleted:
            self._step_s = min(self._look_s, self._walk_s)
        return deleted

    @property
    def is_idle(self) -> bool:
        """True when all that was due is done."""
        return not self._walks and self._step_s >= min(self._look_s, self._walk_s)

    def is_over(self) -> bool:
        """Tell whether the database is larger than it may be, or short of room for what is to come."""
        pages, free, size = self._pages()
        return (pages - free) * size > self.most_bytes or (self._is_short_of_room and free * size < STOCK_BYTES)

    def used_bytes(self) -> int:
        """Return how much of the file is in use."""
        pages, free, size = self._pages()
        return (pages - free) * size

    def _pages(self) -> tuple[int, int, int]:
        with content_checked():
            pages, free, size = (
                int(self._writer.connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return pages, free, size

    def _delete_oldest(self) -> int:
        found = self._writer.connection.execute(
            f"SELECT id, evaluation FROM (SELECT id, evaluation FROM records WHERE state = :receipted AND {_DELIVERED}"  # noqa: S608  # constant words
            " ORDER BY id LIMIT :most)"
            f" UNION ALL SELECT id, evaluation FROM (SELECT id, evaluation FROM records WHERE state = :disputed AND {_DELIVERED}"
            " ORDER BY id LIMIT :most) ORDER BY id LIMIT :most",
            {"receipted": RECEIPTED, "disputed": DISPUTED, "most": DELETE_AT_ONCE},
        ).fetchall()
        if found:
            self._delete(found)
        return len(found)

    def _walk(self, records_before_ms: int, evaluations_before_ms: int) -> int:
        """Go on through all records and then all evaluations, and delete what is older than that.

        By number and not by time: a clock that was wrong for a while has put times into any order.
        """
        connection = self._writer.connection
        rows = connection.execute(
            f"SELECT id, evaluation, received_ms < :before AND {_DELIVERED} FROM records"  # noqa: S608  # constant words
            " WHERE id > :after ORDER BY id LIMIT :most",
            {"before": records_before_ms, "receipted": RECEIPTED, "after": self._after_record, "most": LOOK_AT_ONCE},
        ).fetchall()
        if rows:
            old = [(row_id, evaluation) for row_id, evaluation, is_old in rows if is_old][:DELETE_AT_ONCE]
            self._after_record = old[-1][0] if len(old) == DELETE_AT_ONCE else rows[-1][0]
            if old:
                self._delete(old, records_before_ms)
            return len(old)
        ended = connection.execute(
            f"SELECT rowid, created_ms < :before AND {_ENDED} FROM evaluations"  # noqa: S608  # constant words
            " WHERE rowid > :after ORDER BY rowid LIMIT :most",
            {"before": evaluations_before_ms, "after": self._after_evaluation, "most": LOOK_AT_ONCE},
        ).fetchall()
        gone = [(row_id,) for row_id, is_old in ended if is_old][:DELETE_AT_ONCE]
        if gone:
            with self._writer.transaction():
                connection.executemany(f"DELETE FROM evaluations WHERE rowid = ? AND {_ENDED}", gone)  # noqa: S608  # constant words
        if ended:
            self._after_evaluation = gone[-1][0] if len(gone) == DELETE_AT_ONCE else ended[-1][0]
        else:
            self._walks = False
        return 0

    def _delete(self, found: list[tuple[int, str | None]], before_ms: int | None = None) -> None:
        """Delete records, and the evaluations that only they had kept; by the calendar those that are old themselves."""
        old = "" if before_ms is None else f" AND created_ms < {int(before_ms)}"
        with self._writer.transaction() as connection:
            connection.executemany("DELETE FROM records WHERE id = ?", [(row_id,) for row_id, _ in found])
            connection.executemany(
                f"DELETE FROM evaluations WHERE id = ? AND {_ENDED}{old}",  # noqa: S608  # constant words and a number
                sorted({(evaluation,) for _, evaluation in found if evaluation is not None}),
            )
