"""The windows at one PC: each is a whole agent of its own, with its device, its database, its login and its token.

What they share is the process, the ports of the machine and the local API's address. A configuration with `[[windows]]` is taken
apart here into one for each window, each as if it were the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from host_agent.config import Config, FurtherWindow
from host_agent.errors import ConfigError


def each(config: Config) -> list[Config]:
    """Return the configuration of each window, the first as it stands; ConfigError when two of them cannot be told apart."""
    found = [config.model_copy(update={"windows": []}), *(_of(config, one) for one in config.windows)]
    if config.windows:
        _check(found)
        for one in found:
            others = frozenset(other.device.id for other in found if other is not one and other.device.id is not None)
            one.set_neighbours(others)
    return found


def one_of(config: Config, window: str | None) -> Config:
    """Return the configuration of one window by its number; it need not be named where there is only one."""
    windows = {one.place.window: one for one in each(config)}
    names = ", ".join(windows)
    if window is None:
        if len(windows) > 1:
            raise ConfigError(f"本机有多个窗口，请写明 --window，其中之一 several windows are at this PC; name one: {names}")
        return next(iter(windows.values()))
    if window not in windows:
        raise ConfigError(f"本机没有窗口 {window} is no window at this PC; 现有 there is: {names}")
    return windows[window]


def some_of(config: Config, window: str | None) -> list[Config]:
    """Return the configurations of all windows, or of the one that is named."""
    return each(config) if window is None else [one_of(config, window)]


def secret_files(config: Config) -> list[Path]:
    """Return the files with secrets that a configuration names, for any of its windows."""
    named = (file for one in each(config) for file in (one.mqtt.password_file, one.mqtt.key_file, one.remote.key_file))
    return list(dict.fromkeys(file for file in named if file is not None))


def _of(config: Config, further: FurtherWindow) -> Config:
    login = further.mqtt.model_dump()
    return config.model_copy(
        update={
            "data_dir": config.data_dir / f"window-{further.window}",
            "place": config.place.model_copy(update={"window": further.window}),
            "device": further.device,
            "mqtt": config.mqtt.model_copy(update=login if any(login.values()) else {}),
            "remote": config.remote.model_copy(update={"key_file": further.remote.key_file}),  # it is made for one window
            "api": config.api.model_copy(update={"compatibility_port": further.api.compatibility_port}),
            "windows": [],
        }
    )


def _check(windows: list[Config]) -> None:
    for one in windows:
        one.window()
        if one.device.id is None and one.device.port is None:
            raise ConfigError(
                f"窗口 {one.place.window}：本机有多个窗口，请写明 device.id（评价器编号，在标签上） several windows are at this PC: "
                f"say by device.id, which is on its label, which device belongs to window {one.place.window}"
            )
    # a folder's name is the same in capitals and small letters on Windows
    _differ(windows, "window", lambda one: one.place.window.casefold())
    _differ(windows, "device.id", lambda one: one.device.id)
    _differ(windows, "device.port", lambda one: one.device.port)
    _differ(windows, "api.compatibility_port", lambda one: one.api.compatibility_port or None)


def _differ(windows: Iterable[Config], key: str, value: Callable[[Config], object]) -> None:
    seen: dict[object, str] = {}
    for one in windows:
        here = value(one)
        if here is not None and here in seen:
            raise ConfigError(
                f"窗口 {seen[here]} 和 {one.place.window} 的 {key} 相同，请修改其一 windows {seen[here]} and {one.place.window} "
                f"have the same {key} = {here}: change one of them"
            )
        seen[here] = one.place.window
