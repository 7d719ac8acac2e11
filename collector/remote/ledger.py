"""Who asked which window what, when, and how it ended: a line of JSON before the request goes out and one after.

The file `asked.jsonl` is only ever added to. Without it nothing is asked: the first line comes before the connection.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.errors import AskError
from protocol.payloads import Payload
from protocol.remote import Asked
from protocol.topics import Window

FILE_NAME = "asked.jsonl"


class Ledger:
    """The file in `data_dir`."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / FILE_NAME

    @contextmanager
    def noting(self, window: Window, asked: Asked, arguments: Payload) -> Iterator[Callable[[str], None]]:
        """Note that it is asked, and in the end what came of it: what was noted inside, or the error's text."""
        number = secrets.token_hex(8)
        outcome = "interrupted"

        def note(word: str) -> None:
            nonlocal outcome
            outcome = word

        self._add(
            {"ask": number, "who": _who(), "window": window.path, "kind": asked.value}
            | {"arguments": arguments.model_dump(mode="json")}
        )
        try:
            yield note
        except AskError as error:
            note(str(error))
            raise
        finally:
            self._add({"ask": number, "outcome": outcome})

    def _add(self, words: dict[str, object]) -> None:
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | words, ensure_ascii=False) + "\n"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as stream:
                stream.write(line.encode("utf-8"))
        except OSError as error:
            raise AskError(
                f"无法记录本次询问，未发送 {self._file} cannot be written ({error.strerror}), and nothing is asked unnoted: "
                "run this as the collector's account"
            ) from error


def _who() -> str:
    """Return who types this, also behind sudo."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    behind = os.environ.get("SUDO_USER")
    return f"{behind} ({user})" if behind else user
