"""Whether the system puts the device's USB to sleep when nothing is said for a while: then words are lost, or the device itself.

On Linux each device has a setting of its own, which our udev rule turns off; on Windows it is one of the energy plan's. Where neither
can be read there is nothing to say. That it is on is worth a warning only where the line has had trouble: many boards bear it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from host_agent.doctor.finding import Finding, Grade

WHAT: Final = "USB 省电 USB power saving"
TROUBLES: Final = ("silences", "line_silences")
"""Counters of the agent that are not 0 where a device does not hear, or is not heard."""
SYSFS = Path("/sys")
_SCHEMES: Final = r"SYSTEM\CurrentControlSet\Control\Power\User\PowerSchemes"
_USB: Final = "2a737441-1930-4402-8d77-b2bebba308a3"
_SELECTIVE_SUSPEND: Final = "48e6b7a6-50f5-4782-a5d4-53bb8f07e226"


def power(port: str | None, report: dict[str, Any] | None) -> Iterator[Finding]:
    """Look at the port's device; `report` is the running agent's status, None when it gives none."""
    sleeps = _sleeps(port)
    if sleeps is None:
        return
    if not sleeps:
        yield Finding(WHAT, Grade.OK, "已关闭 off")
        return
    counters = report["counters"] if report is not None else {}
    had_trouble = report is None or report["link"] != "talking" or any(counters.get(name) for name in TROUBLES)
    yield Finding(
        WHAT, Grade.WARN if had_trouble else Grade.OK, _remedy(port) if had_trouble else "已打开，未见影响 on, no harm seen"
    )


def _sleeps(port: str | None) -> bool | None:
    """Tell whether power is saved there; None when it cannot be known."""
    if sys.platform == "win32":
        saves = _plan_saves()
    else:
        saves = _device_saves(port)
    return saves


def _device_saves(port: str | None) -> bool | None:
    device = usb_device(port) if port is not None else None
    if device is None:
        return None
    try:
        return (device / "power" / "control").read_text(encoding="ascii").strip() == "auto"
    except OSError:
        return None


def usb_device(port: str) -> Path | None:
    """Return the folder in sysfs of the USB device behind a port, None for a port that is on no USB."""
    try:
        here = (SYSFS / "class" / "tty" / os.path.basename(os.path.realpath(port)) / "device").resolve(strict=True)
    except OSError:
        return None
    return next((folder for folder in (here, *here.parents) if (folder / "idVendor").exists()), None)


def _remedy(port: str | None) -> str:
    on_linux = (
        f"已打开，请安装 udev 规则后重新插拔 on for {port}: install the udev rule (agent service install), then unplug the device "
        "and plug it in again"
    )
    on_windows = (
        "USB 选择性暂停已打开，请在电源计划中关闭 selective suspend is on, turn it off: "
        f"powercfg /setacvalueindex scheme_current {_USB} {_SELECTIVE_SUSPEND} 0"
    )
    return on_windows if sys.platform == "win32" else on_linux


if sys.platform == "win32":
    import winreg

    def _plan_saves() -> bool | None:
        scheme = _value(_SCHEMES, "ActivePowerScheme")
        if scheme is None:
            return None
        chosen = _value(rf"{_SCHEMES}\{scheme}\{_USB}\{_SELECTIVE_SUSPEND}", "ACSettingIndex")
        return bool(chosen != 0)  # not chosen: Windows has it on

    def _value(path: str, name: str) -> object:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
                value: object = winreg.QueryValueEx(key, name)[0]
                return value
        except OSError:
            return None
