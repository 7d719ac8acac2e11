"""Starts the device; returns to the prompt only in safe mode or when there is trouble (the red lamp is lit)."""

import micropython

micropython.kbd_intr(-1)  # again: a soft reset may have skipped boot.py

from boards import pico  # noqa: E402  # nothing may come before the line above

pico.start()
