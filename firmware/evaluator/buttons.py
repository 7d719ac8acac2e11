"""Five buttons: bouncing contacts in, single presses out.

The first edge counts at once and locks that button for 30 ms, so that a press costs no waiting time. Two buttons that go
down in the same scan say nothing about what somebody meant: neither counts. A button that is held when the device starts
counts only after it was let go.
"""

from . import ticks

BUTTONS = 5
LOCKOUT_MS = 30
STUCK_MS = 10_000


class Buttons:
    """Debounces a bit mask of five buttons, bit n set while button n is down."""

    def __init__(self, held: int, now: int) -> None:
        self._down = held & 31
        self._changed = [now] * BUTTONS  # looked at only while a button is locked or down: ticks wrap after days
        self._locked = 31
        self.stuck = 0
        """Bit n: button n has been down for more than 10 s."""

    def scan(self, mask: int, now: int) -> int:
        """Return the button, 0 to 4, that was pressed since the last scan, or -1. Allocates nothing."""
        pressed = -1
        changed = (mask ^ self._down) & 31
        if not changed and not self._down and not self._locked:
            return -1
        for n in range(BUTTONS):
            bit = 1 << n
            if self._locked & bit:
                if ticks.diff(now, self._changed[n]) < LOCKOUT_MS:
                    continue
                self._locked &= ~bit
            if changed & bit:
                self._changed[n] = now
                self._locked |= bit
                self._down ^= bit
                if self._down & bit:
                    pressed = n if pressed == -1 else -2
                else:
                    self.stuck &= ~bit
            elif self._down & bit and not self.stuck & bit and ticks.diff(now, self._changed[n]) > STUCK_MS:
                self.stuck |= bit
        return pressed if pressed >= 0 else -1
