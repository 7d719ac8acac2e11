"""The last lines of the log in memory, wherever else it goes: Linux keeps it in the journal, Windows in files, a terminal nowhere.

The same lines as there, each one printable and of bounded length; what logs write holds no level, case or secret in the first
place. Asked for from afar, so it must be there without any right to read a journal.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from host_agent.service.log_file import FORMAT
from protocol.remote import MOST_LINES

MOST_CHARACTERS: Final = 500


class LogRing(logging.Handler):
    """Keeps the last MOST_LINES lines; logging calls it under the handler's lock."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged, a line each."""
        try:
            for line in self.format(record).splitlines():
                self._lines.append("".join(one if one.isprintable() else "?" for one in line[:MOST_CHARACTERS]))
        except Exception:  # as every handler: a line that cannot be written must not end who writes it
            self.handleError(record)

    def last(self, count: int) -> list[str]:
        """Return up to so many lines, the newest last."""
        self.acquire()
        try:
            return list(self._lines)[-count:] if count else []
        finally:
            self.release()


_RING: Final = LogRing()


def keep_last_lines() -> None:
    """Begin to keep what is logged from now on; may be repeated."""
    if _RING not in logging.getLogger().handlers:
        logging.getLogger().addHandler(_RING)


def last_lines(count: int) -> list[str]:
    """Return up to so many of the last lines that were logged in this process, the newest last."""
    return _RING.last(count)
