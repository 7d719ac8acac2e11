"""The log of a service that nobody watches: UTF-8 files of bounded size and number, `agent.log` the newest.

On Windows a file that somebody holds open cannot be renamed. Then the log goes on in the same file and tries again later: no
line is lost for it, and no older file is thrown away. Called by the service of Windows; on Linux the journal does all this.
"""

from __future__ import annotations

import logging
import logging.handlers
import time
from pathlib import Path

FILE_NAME = "agent.log"
MOST_BYTES = 5_000_000
OLDER_FILES = 5
TRY_AGAIN_S = 60.0
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class RotatingFile(logging.handlers.RotatingFileHandler):
    """Keeps `older` files beside the newest, each of at most `most_bytes` and a line."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES, older: int = OLDER_FILES) -> None:
        super().__init__(path, maxBytes=most_bytes, backupCount=older, encoding="utf-8")
        self._not_before_s = 0.0

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  # the name is logging's
        """Tell whether the file is full, and was not found to be held a moment ago."""
        return time.monotonic() >= self._not_before_s and bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802  # the name is logging's
        """Move the files on, if the newest can be moved."""
        self.close_stream()
        newest = Path(self.baseFilename)
        files = [newest.with_name(f"{newest.name}.{number}") for number in range(self.backupCount + 1)]
        try:
            if not files[0].exists():  # else an older file was held the last time, and its place is taken
                newest.replace(files[0])  # the one step that fails when it is held, before any other file is touched
            free = next((number for number, file in enumerate(files) if not file.exists()), self.backupCount)
            for number in range(free, 0, -1):
                files[number - 1].replace(files[number])
        except OSError:
            self._not_before_s = time.monotonic() + TRY_AGAIN_S
        self.stream = self._open()

    def close_stream(self) -> None:
        """Let go of the file; the next line opens it again."""
        if self.stream:
            self.stream.close()
            self.stream = None


def log_to(folder: Path, level: str) -> Path:
    """Have everything that is logged go to `agent.log` in `folder`; return that file. OSError when it cannot be made."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = RotatingFile(folder / FILE_NAME)
    logging.basicConfig(level=level.upper(), format=FORMAT, handlers=[handler], force=True)
    return folder / FILE_NAME
