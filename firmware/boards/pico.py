"""Raspberry Pi Pico with stock MicroPython: pins, buzzer, USB, watchdog and the loop. Wiring: `firmware/README.md`.

The line to the host is the built-in USB port, so nothing may ever be printed: `run` swallows every error into `error.txt` and
resets. `main.py` calls `start`; two buttons held at power-on (非常满意 and 非常不满意) give the prompt back instead.
Never run on silicon so far.
"""

import gc
import select
import sys
import time

import machine
import micropython
import rp2

from . import RED, SOUND_CALL, SOUND_INVITE, SOUND_REFUSED, SOUND_THANKS, SOUND_WELCOME, Board, Device, Identity
from .littlefs_sectors import open_sectors

FIRST_BUTTON = 2  # GP2 to GP6, to ground
FIRST_LAMP = 7  # GP7 to GP11, then the red one on GP12
BUZZER = 15
ROOT = "/"
IDENTITY = "/identity.json"
SECTORS = 64
STEP_MS = 2
WATCHDOG_MS = 8000
SAFE_MODE = 0b10001
_USB_ADDRESS = 0x50110000  # USBCTRL ADDR_ENDP: the address that the host has given us, 0 before
_USB_STATUS = 0x50110050  # USBCTRL SIE_STATUS, the same on RP2350
_SUSPENDED = 1 << 4
_GPIO_IN = 0xD0000004  # SIO: all 30 pins in one read, so it always fits a small integer
_SEND_BYTES = 64  # in one step, so that the buttons are looked at again soon
_FULL_DUTY = 32768  # a square wave is loudest at one half

# (Hz, ms) one after another; 0 Hz is a pause
_TONES = {
    SOUND_INVITE: ((880, 120), (0, 60), (1175, 180)),
    SOUND_THANKS: ((1047, 100), (1319, 100), (1568, 220)),
    SOUND_REFUSED: ((220, 300), (0, 100), (220, 300)),
    SOUND_WELCOME: ((988, 140), (1319, 220)),
    SOUND_CALL: ((1319, 250), (1047, 350)),
}


class PicoBoard(Board):
    """The wired pins and the USB port; `volume` is 0 to 100."""

    def __init__(self, volume: int) -> None:
        for n in range(5):
            machine.Pin(FIRST_BUTTON + n, machine.Pin.IN, machine.Pin.PULL_UP)
        self._lamp_pins = [machine.Pin(FIRST_LAMP + n, machine.Pin.OUT, value=0) for n in range(6)]
        self._buzzer = machine.PWM(machine.Pin(BUZZER))
        self._buzzer.duty_u16(0)
        self._duty = _FULL_DUTY * max(0, min(volume, 100)) // 100
        self._tones: tuple[tuple[int, int], ...] = ()
        self._tone = 0
        self._tone_since = 0
        self._one = bytearray(1)
        self._readable = select.poll()
        self._readable.register(sys.stdin, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sys.stdout, select.POLLOUT)

    def keys(self) -> int:
        """Return the buttons that are down, of one moment."""
        return int((~machine.mem32[_GPIO_IN] >> FIRST_BUTTON) & 31)

    def lamps(self, mask: int) -> None:
        """Light exactly these lamps."""
        for pin in self._lamp_pins:
            pin.value(mask & 1)
            mask >>= 1

    def sound(self, number: int, language: int) -> None:  # noqa: ARG002  # a buzzer has no language
        """Start a short tune; `step` plays it."""
        self._tones = _TONES.get(number, ())
        self._tone = -1

    def step(self, now: int) -> None:
        """Go on to the next tone when it is time. Allocates nothing while it is quiet."""
        if not self._tones:
            return
        if self._tone >= 0 and time.ticks_diff(now, self._tone_since) < self._tones[self._tone][1]:
            return
        self._tone += 1
        self._tone_since = now
        if self._tone >= len(self._tones):
            self._tones = ()
            self._buzzer.duty_u16(0)
            return
        pitch = self._tones[self._tone][0]
        if pitch:
            self._buzzer.freq(pitch)
        self._buzzer.duty_u16(self._duty if pitch else 0)

    def host_present(self) -> bool:
        """Tell whether a PC that is awake has given us an address on USB. A sleeping one suspends the bus."""
        return bool(machine.mem32[_USB_ADDRESS] & 0x7F) and not machine.mem32[_USB_STATUS] & _SUSPENDED

    def reset(self) -> None:
        """Start again; USB is set up anew."""
        machine.reset()

    def receive(self, buffer: bytearray) -> int:
        """Take what has arrived, byte by byte: a longer read would wait until it is full."""
        count = 0
        while count < len(buffer) and self._is_ready(self._readable):
            sys.stdin.buffer.readinto(self._one)
            buffer[count] = self._one[0]
            count += 1
        return count

    def send(self, data: memoryview) -> int:
        """Give USB what it takes, byte by byte: a longer write would wait 500 ms for a host that does not read."""
        count = 0
        while count < min(len(data), _SEND_BYTES) and self._is_ready(self._writable):
            self._one[0] = data[count]
            sys.stdout.buffer.write(self._one)
            count += 1
        return count

    def _is_ready(self, poll: select.poll) -> bool:
        for _ in poll.ipoll(0):  # of one stream, and without a list
            return True
        return False


def start() -> None:
    """Run the device, for ever; return to the prompt, with the red lamp lit, in safe mode and while not provisioned."""
    micropython.kbd_intr(-1)
    board = PicoBoard(0)
    time.sleep_ms(5)  # the pull-ups need a moment before the first reading
    if board.keys() == SAFE_MODE:
        board.lamps(RED)
        return
    try:
        identity = Identity(IDENTITY)
        volume = int(identity.settings.get("volume", 50))
        board = PicoBoard(volume)
        flash = rp2.Flash()
        board.flash = open_sectors(flash, memoryview(flash), ROOT, SECTORS)  # type: ignore[arg-type]  # has the buffer protocol
        run(board, identity)
    except Exception as error:
        board.lamps(RED)
        _note(error)


def run(board: PicoBoard, identity: Identity) -> None:
    """The loop; never returns."""
    ticks_ms = time.ticks_ms
    device = Device(board, identity, ticks_ms())  # type: ignore[arg-type]  # the stub has a type of its own for ticks
    gc.collect()
    watchdog = machine.WDT(timeout=WATCHDOG_MS)
    try:
        while True:
            now = ticks_ms()
            device.step(now)  # type: ignore[arg-type]  # the stub has a type of its own for ticks
            board.step(now)  # type: ignore[arg-type]  # the stub has a type of its own for ticks
            watchdog.feed()
            time.sleep_ms(STEP_MS)
    except Exception as error:
        board.lamps(RED)
        _note(error)
        machine.reset()  # the journal is whole at any moment; a loop that failed is not to be trusted


def _note(error: Exception) -> None:
    """Keep the first error for the technician, who deletes the file; a crash in a loop must not wear the flash."""
    try:
        with open(ROOT + "error.txt", "x") as file:
            sys.print_exception(error, file)
    except OSError:
        return
