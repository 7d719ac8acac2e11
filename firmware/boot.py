"""Runs first: from here on a byte 0x03 is data, not Ctrl-C."""

import micropython

micropython.kbd_intr(-1)
