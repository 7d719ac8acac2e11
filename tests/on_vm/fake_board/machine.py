# modules of the board and of MicroPython, which the checks of CPython do not know
# mypy: ignore-errors
"""Stands in for the board's `machine` in the VM: pins, buzzer, watchdog. What happens goes to a log file, for standard output is USB.

The file named by `BOARD_KEYS` holds the mask of buttons that are down, as a decimal number.
"""

import os
import sys

LOG = os.getenv("BOARD_LOG")
KEYS = os.getenv("BOARD_KEYS")


def note(text: str) -> None:
    """Add a line to the log."""
    with open(LOG, "a") as file:
        file.write(text + "\n")


class Pin:
    """A pin that reports its changes."""

    IN = 0
    OUT = 1
    PULL_UP = 2

    def __init__(self, number: int, mode: int = 0, pull: int = 0, value: int = 0) -> None:
        self.number = number
        self.state = value
        note(f"pin {number} mode {mode} pull {pull}")

    def value(self, state: int) -> None:
        """Set the pin."""
        if state != self.state:
            self.state = state
            note(f"pin {self.number} = {state}")


class PWM:
    """A buzzer that reports its tones."""

    def __init__(self, pin: Pin) -> None:
        self.pin = pin
        self.pitch = 0

    def freq(self, pitch: int) -> None:
        """Set the pitch."""
        self.pitch = pitch

    def duty_u16(self, duty: int) -> None:
        """Set the loudness."""
        note(f"tone {self.pitch} {duty}")


class Memory:
    """The registers: GPIO_IN with pull-ups, so that a button that is down reads 0, and two of USB."""

    def __getitem__(self, address: int) -> int:
        """Read a register."""
        if address == 0x50110000:
            return int(os.getenv("BOARD_USB_ADDRESS") or 0)
        if address == 0x50110050:
            return 1 << 16  # connected, not suspended
        if address != 0xD0000004:
            raise ValueError("no such register")
        with open(KEYS) as file:
            down = int(file.read() or 0)
        return 0x3FFFFFFF & ~(down << 2)


mem32 = Memory()


class WDT:
    """A watchdog that only counts."""

    def __init__(self, timeout: int) -> None:
        note(f"watchdog {timeout}")

    def feed(self) -> None:
        """Hear that the loop is well."""


def reset() -> None:
    """End the program, as a reset does."""
    note("reset")
    sys.exit(3)
