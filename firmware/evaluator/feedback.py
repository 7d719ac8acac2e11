"""Light and sound: the same for every level.

Nobody at the counter may learn from the device which button it was, so this module is never told. Lamps are a bit mask: bits 0
to 4 the rings of the five buttons, bit 5 the red lamp. Sounds are numbers that a board turns into a tone or a voice.
"""

from . import ticks
from .hardware import Board

ALL = 0b011111
RED = 0b100000
DARK = 0

SOUND_INVITE = 1
SOUND_THANKS = 2
SOUND_REFUSED = 3
SOUND_WELCOME = 4
SOUND_CALL = 5
SOUND_TEXTS = 16  # the first of the hall's own texts

_FLASH_MS = 150
_FLASHES = 6  # on and off three times
_REFUSAL_MS = 1500
_BREATH_MS = 800


class Feedback:
    """Drives the board's lamps and sound."""

    def __init__(self, output: Board, now: int) -> None:
        self._output = output
        self._lamps = -1
        self._inviting = False
        self._paused = False
        self._red = False
        self._since = now
        self._thanking = False
        self._refusing = False
        self.language = 0
        self.step(now)

    def rest(self, paused: bool, faulty: bool) -> None:
        """Tell what the lamps show when nothing else does: red for a paused window or a device that must refuse."""
        self._paused = paused
        self._red = faulty

    def invite(self, now: int, language: int) -> None:
        """Ask the citizen to rate: rings breathe, the prompt is spoken once."""
        self._inviting = True
        self._thanking = self._refusing = False
        self._since = now
        self.language = language
        self._sound(SOUND_INVITE)
        self.step(now)

    def uninvite(self) -> None:
        """Stop asking; thanks that are under way go on."""
        self._inviting = False
        self.language = 0

    def thank(self, now: int) -> None:
        """Say thanks; call only when the record is durable."""
        self._inviting = False
        self._refusing = False
        self._thanking = True
        self._since = now
        self._sound(SOUND_THANKS)
        self.step(now)

    def refuse(self, now: int) -> None:
        """Say visibly and audibly that the press was not taken."""
        self._thanking = False
        self._refusing = True
        self._since = now
        self._sound(SOUND_REFUSED)
        self.step(now)

    def say(self, number: int, language: int) -> None:
        """Speak without touching the lamps: it is about no press."""
        self._output.sound(number, language)

    def step(self, now: int) -> None:
        """Bring the lamps to what they must be at `now`. Allocates nothing."""
        mask = RED if self._paused or self._red else DARK
        passed_ms = ticks.diff(now, self._since)
        if self._thanking:
            if passed_ms >= _FLASH_MS * _FLASHES:
                self._thanking = False
                self.language = 0  # the next citizen may speak another one
                self._since = now
            elif passed_ms // _FLASH_MS % 2 == 0:
                mask |= ALL
        elif self._refusing:
            if passed_ms >= _REFUSAL_MS:
                self._refusing = False
                self._since = now
            else:
                mask |= RED
        elif self._inviting and passed_ms // _BREATH_MS % 2 == 0:
            mask |= ALL
        if mask != self._lamps:
            self._lamps = mask
            self._output.lamps(mask)

    def _sound(self, number: int) -> None:
        self._output.sound(number, self.language)
