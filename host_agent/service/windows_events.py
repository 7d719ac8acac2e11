"""The event log of Windows: what the IT department sees without looking into our files.

The source's texts are those of EventCreate.exe, which is part of Windows and shows an event with a number up to 1000 as it
stands. A library of our own would be held open by the event log, and could then not be replaced by an upgrade.
"""

from __future__ import annotations

import contextlib
import logging
import sys

import pywintypes
import win32evtlog

from host_agent.service.windows_names import NAME

log = logging.getLogger("agent.service")

SOURCE = rf"SYSTEM\CurrentControlSet\Services\EventLog\Application\{NAME}"
TEXTS = r"%SystemRoot%\System32\EventCreate.exe"


class Events:
    """Writes events of the agent; what it tells goes to the log too, and a log that takes none stops nothing."""

    def __init__(self) -> None:
        self._door = None
        with contextlib.suppress(pywintypes.error):
            self._door = win32evtlog.RegisterEventSource(None, NAME)

    def tell(self, number: int, is_bad: bool, text: str) -> None:
        """Write one event."""
        log.log(logging.WARNING if is_bad else logging.INFO, "[%d] %s", number, text)
        if self._door is not None:
            kind = win32evtlog.EVENTLOG_WARNING_TYPE if is_bad else win32evtlog.EVENTLOG_INFORMATION_TYPE
            with contextlib.suppress(pywintypes.error):
                win32evtlog.ReportEvent(self._door, kind, 0, number, None, [text], None)


def register() -> None:
    """Make the source known, so that its events are shown with their text; PermissionError without the right to."""
    if sys.platform == "win32":
        import winreg

        with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, SOURCE, access=winreg.KEY_SET_VALUE) as key:
            winreg.SetValueEx(key, "EventMessageFile", 0, winreg.REG_EXPAND_SZ, TEXTS)
            winreg.SetValueEx(key, "TypesSupported", 0, winreg.REG_DWORD, 7)


def unregister() -> None:
    """Forget the source; its events stay."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(FileNotFoundError):
            winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, SOURCE)
