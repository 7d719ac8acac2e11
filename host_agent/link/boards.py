"""How DTR and RTS must stand for the board behind a port, by its USB ids.

One setting does not suit all. A board with USB of its own sends nothing while DTR is low, for then nobody listens. Behind a
bridge chip the two lines often lead to reset and boot pins, where they do nothing only while both are the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Lines(NamedTuple):
    """The two signals when a port is opened."""

    dtr: bool
    rts: bool


LISTENING: Final = Lines(dtr=True, rts=False)
"""USB of its own: Raspberry Pi Pico and Pico 2, ESP32-S3 with MicroPython's own USB; also for whatever is not known."""
AT_REST: Final = Lines(dtr=False, rts=False)
"""Lines that lead to reset and boot."""

BRIDGES: Final = frozenset((0x0403, 0x067B, 0x10C4, 0x1A86))
"""FTDI, Prolific, Silicon Labs CP210x, WCH CH34x: makers of chips between USB and a serial port."""
ESPRESSIF: Final = 0x303A
SERIAL_JTAG: Final = 0x1001
"""The ESP32-S3's serial port in hardware, which takes the two lines for reset and boot as well."""


def lines(vendor: int | None, product: int | None) -> Lines:
    """Return the lines for a board with these USB ids; None where they are not known."""
    if vendor in BRIDGES or (vendor, product) == (ESPRESSIF, SERIAL_JTAG):
        return AT_REST
    return LISTENING
