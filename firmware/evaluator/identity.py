"""Who the device is: id, key and settings, as the technician provisioned them.

One small JSON file, replaced by write and rename so that a power cut leaves the old or the new one. It also counts the
journals ever begun, outside the journal itself: a journal that is lost must not begin its numbers again.
"""

import json
import os

_MOST_JOURNALS = 1024  # record numbers have 32 bits, and each journal begins 2**22 after the one before


class NotProvisioned(Exception):
    """There is no identity file, or it cannot be one; the device must not take presses."""


class Identity:
    """The provisioned facts in the file at `path`."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path) as file:
                self._facts = json.load(file)
            self.device = self._facts["device"].encode()
            self.key = bytes.fromhex(self._facts["key"])
            self.journals = int(self._facts["journals"])
            self.settings = self._facts.get("settings", {})
            for value in self.settings.values():
                int(value)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotProvisioned(path, error)  # noqa: B904  # MicroPython has no `raise … from`
        if not 0 < len(self.device) <= 16 or len(self.key) != 32:
            raise NotProvisioned(path, "device id or key has the wrong length")

    def begin_journal(self) -> int:
        """Count one more journal, durably, and return its number from 0."""
        number = self.journals
        if not 0 <= number < _MOST_JOURNALS:
            raise NotProvisioned(self._path, "all record numbers of this device id are used up")
        self._facts["journals"] = number + 1
        fresh = self._path + ".new"
        with open(fresh, "w") as file:
            json.dump(self._facts, file)
            file.flush()
        getattr(os, "replace", os.rename)(fresh, self._path)  # Windows' rename does not overwrite
        if hasattr(os, "sync"):
            os.sync()
        self.journals = number + 1
        return number
