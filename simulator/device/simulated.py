"""One device with its cable and its power, as a person at the counter has them in their hands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from simulator.device.engine import CPythonEngine, DeviceFailed, Engine, VmEngine, default_engine
from simulator.device.provision import provision
from simulator.hardware.serial_line import SerialLine

HOLD_S = 0.06
SECTORS = 32


class SimulatedDevice:
    """A provisioned device below `folder`: identity and flash in files, so that it is the same one next time.

    `listener(word, number)` hears ("lamps", mask), ("sound", number), ("power", 0 or 1) and ("cable", 0 or 1), from
    several threads.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        hall_key: bytes,
        port: str,
        *,
        sectors: int = SECTORS,
        engine: type[VmEngine] | type[CPythonEngine] | None = None,
        listener: Callable[[str, int], None] | None = None,
        settings: dict[str, int | bool] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._identity = folder / f"{name}.json"
        self._flash = folder / f"{name}.flash"
        self._in_use = FileLock(folder / f"{name}.lock")
        try:
            self._in_use.acquire(timeout=0)
        except Timeout as error:
            raise DeviceFailed(
                f"{folder} 中的评价器 {name} 已在运行，请先停止它，或用 --folder 另选目录 this device is running already: "
                "stop that one first, or choose another --folder"
            ) from error
        try:
            provision(self._identity, name, hall_key, **(settings or {}))
            self.line = SerialLine(port)
        except BaseException:
            self._in_use.release()
            raise
        self._sectors = sectors
        self._make = engine or default_engine()
        self._listener = listener
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def has_power(self) -> bool:
        """Tell whether the device runs."""
        return self._engine is not None and self._engine.is_running()

    @property
    def engine(self) -> Engine | None:
        """What runs the firmware, while it has power."""
        return self._engine

    def plug_in(self) -> None:
        """Give the device power and put its cable in; does nothing to what is in already."""
        with self._lock:
            if not self.has_power:
                self._engine = self._make(self._identity, self._flash, self._sectors, self.line.device_end, self._tell)
                self._tell("power", 1)
            if not self.line.is_plugged:
                self.line.plug()
                self._tell("cable", 1)

    def unplug(self) -> None:
        """Pull the data cable; the device keeps its power and goes on taking presses."""
        with self._lock:
            self.line.unplug()
            self._tell("cable", 0)

    def cut_power(self) -> None:
        """Take the power away, in the middle of whatever it does."""
        with self._lock:
            self.line.unplug()
            if self._engine is not None:
                self._engine.stop()
                self._engine = None
            self._tell("lamps", 0)
            self._tell("power", 0)
            self._tell("cable", 0)

    def keys(self, mask: int) -> None:
        """Hold exactly these buttons down, bit 0 for 非常满意."""
        if self._engine is not None:
            self._engine.keys(mask)

    def press(self, button: int) -> None:
        """Press one button, 0 to 4, the way a finger does, and let go."""
        self.keys(1 << button)
        time.sleep(HOLD_S)
        self.keys(0)
        time.sleep(HOLD_S)

    def close(self) -> None:
        """Take everything away; the files stay."""
        self.cut_power()
        self.line.close()
        self._in_use.release()

    def _tell(self, word: str, number: int) -> None:
        if self._listener is not None:
            self._listener(word, number)
