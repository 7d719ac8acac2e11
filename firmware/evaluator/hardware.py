"""The seam between the evaluator and what it runs on.

A board profile, the simulator and the tests each fill in these two classes; nothing else in this package touches hardware.
"""


class Flash:
    """Sectors of NOR flash set aside for the journal, counted from 0.

    Erasing sets all 4096 bytes of a sector to 0xFF; programming clears bits and never sets one.
    """

    sectors = 0

    def read(self, sector: int, at: int, buffer: bytearray | memoryview) -> None:
        """Fill `buffer` from offset `at` of a sector."""
        raise NotImplementedError

    def program(self, sector: int, at: int, page: bytearray) -> None:
        """Program one whole page of 256 bytes; `at` is a multiple of 256. Returns when it is done."""
        raise NotImplementedError

    def erase(self, sector: int) -> None:
        """Erase a sector. Returns when it is done; may take 400 ms."""
        raise NotImplementedError


class Board:
    """Buttons, lamps, sound and the line to the host."""

    flash = Flash()
    texts = 0
    """How many texts of the hall's own it can speak; a buzzer none."""

    def keys(self) -> int:
        """Return a bit mask of the buttons that are down: bit 0 is 非常满意, bit 4 非常不满意. Allocates nothing."""
        raise NotImplementedError

    def lamps(self, mask: int) -> None:
        """Light exactly these lamps: bits 0 to 4 the rings of the buttons, bit 5 the red lamp."""
        raise NotImplementedError

    def sound(self, number: int, language: int) -> None:
        """Start a sound (see feedback) and return at once."""
        raise NotImplementedError

    def host_present(self) -> bool:
        """Tell whether a host has set up the line, talking or not; always False where a board cannot know. Allocates nothing."""
        return False

    def reset(self) -> None:
        """Start again as after power-on. Returns only where that is simulated."""
        raise NotImplementedError

    def receive(self, buffer: bytearray) -> int:
        """Put bytes that have arrived into `buffer`; return how many, 0 when there are none. Never waits."""
        raise NotImplementedError

    def send(self, data: memoryview) -> int:
        """Hand over bytes to the line; return how many it took, 0 when it takes none now. Never waits."""
        raise NotImplementedError
