"""The rating device: everything between a finger and the wire.

Runs unmodified on stock MicroPython and, for tests, on CPython. Lives here: buttons, feedback, session, journal, signer,
link, clock and the step loop over them. Must not: `machine`, `rp2` or any other hardware (that is in boards/), sleeping, and
imports of other rooms. Time is the argument `now` everywhere: milliseconds as `ticks` counts them.
"""

FIRMWARE_VERSION = "0.1.0"
