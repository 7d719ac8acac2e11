"""A database connection whose process can die at any statement, before or after it took effect.

What was not committed is gone, what was committed stays, nothing else is tidied up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

NEVER = -1
NO_LIMIT_PAGES = 1 << 30


class Killed(BaseException):
    """The process is gone; not an Exception, so that nothing in it can mistake it for an error of its own."""


class MortalConnection:
    """Behaves as the connection that it holds, until its process dies."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real
        self._left = NEVER
        self._after = False
        self.commits = 0
        """How many have taken effect; the last of them may have been the last thing that happened."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def kill_at(self, statements: int, *, after: bool) -> None:
        """Die at the statement after so many more; `NEVER` to live on."""
        self._left, self._after = statements, after

    @property
    def is_next(self) -> bool:
        """True when the next statement is the one to die at, or was."""
        return self._left == 0

    def most_pages(self, pages: int) -> None:
        """Let the file grow to so many pages and no further, as a full disk does; at least to what it has."""
        self._real.execute(f"PRAGMA max_page_count = {pages}")

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        return self.counted(self._real.execute, arguments)  # type: ignore[no-any-return]  # what it calls is known here

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """Execute a statement many times; for a death it is one."""
        return self.counted(self._real.executemany, arguments)  # type: ignore[no-any-return]  # what it calls is known here

    def commit(self) -> None:
        """Commit."""
        self.counted(self._commit, ())

    def cursor(self, *arguments: Any) -> _MortalCursor:
        """Return a cursor that dies with this."""
        return _MortalCursor(self, self._real.cursor(*arguments))

    def _commit(self) -> None:
        self._real.commit()
        self.commits += 1

    def counted(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call it, or die."""
        if self._left != 0:
            if self._left > 0:
                self._left -= 1
            return call(*arguments)
        if self._after:
            call(*arguments)
        if self._real.in_transaction:
            self._real.rollback()  # as SQLite does for a process that is gone; closing leaves it to cursors still open
        raise Killed


class _MortalCursor:
    def __init__(self, connection: MortalConnection, real: sqlite3.Cursor) -> None:
        self._connection = connection
        self._real = real
        self.fetchone = real.fetchone
        self.fetchall = real.fetchall
        self.close = real.close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, *arguments: Any) -> Any:
        return self._connection.counted(self._real.execute, arguments)

    def executemany(self, *arguments: Any) -> Any:
        return self._connection.counted(self._real.executemany, arguments)
