"""A citizen at one window: presses, watches whether the device thanks, and remembers. Knows nothing of the programs.

One press at a time: a thanks belongs to the press before it. A press whose answer cannot be known (the power went, the device stood
still too long) may be collected or not; a thanked one must be.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass
from random import Random

from protocol.levels import Level
from simulator.chaos.hall import Post
from simulator.device.simulated import HOLD_S

PAUSE_S = (0.05, 1.2)
ANSWER_WITHIN_S = 10.0
POLL_S = 0.01
SOUND_THANKS, SOUND_REFUSED = 2, 3
EVALUATION_S = 20
LEVELS = tuple(sorted(Level, reverse=True))


@dataclass(slots=True)
class Press:
    """One press: when, seconds since the start; what for; what the device said."""

    at_s: float
    level: int
    case_no: str
    """The case for which an evaluation was being opened just before, empty without one; it may have come too late."""
    is_thanked: bool = False
    is_refused: bool = False


class Citizen:
    """Presses from `start` to `stop`, as often as wanted."""

    def __init__(self, post: Post, seed: int, began_s: float) -> None:
        self.post = post
        self.presses: list[Press] = []
        self.thanked_for_nothing = 0
        """Thanks beyond the number of presses."""
        self._random = Random(seed)
        self._began_s = began_s
        self._credited = 0
        """Thanks that have been given to a press."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to press."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"citizen {self.post.window.window}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the press at hand and go."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def hear_the_rest(self) -> None:
        """Note what the device said after its citizen was gone; call when it has nothing more to say."""
        self._credit_late_thanks()

    def _run(self) -> None:
        while not self._stopping.wait(self._random.uniform(*PAUSE_S)):
            case_no = self._open() if self._random.random() < 0.5 else ""
            self._press(case_no)

    def _open(self) -> str:
        """Have the business system open an evaluation; whether it came to anything shows itself."""
        client = self.post.client()
        case_no = f"C-{self.post.window.window}-{len(self.presses) + 1}"
        if client is None:
            return ""
        # an agent may be down, stand still, or have no device just now
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            client.ask("POST", "/v1/evaluations", {"case": {"case_no": case_no}, "timeout_s": EVALUATION_S})
        return case_no

    def _press(self, case_no: str) -> None:
        self._credit_late_thanks()
        sounds, device = self.post.sounds, self.post.device
        button = self._random.randrange(len(LEVELS))
        press = Press(time.monotonic() - self._began_s, int(LEVELS[button]), case_no)
        self.presses.append(press)
        engine, refused = device.engine, sounds[SOUND_REFUSED]
        device.keys(1 << button)
        time.sleep(HOLD_S)
        device.keys(0)
        left_s = ANSWER_WITHIN_S
        while left_s > 0:
            if sounds[SOUND_THANKS] > self._credited:
                self._credited += 1
                press.is_thanked = True
                break
            if sounds[SOUND_REFUSED] > refused:
                press.is_refused = True
                break
            if engine is None or device.engine is not engine:
                break  # the power went, or there was none
            time.sleep(POLL_S)
            left_s -= 0 if self.post.stands_still else POLL_S
        time.sleep(HOLD_S)  # let go, so that the next one is a press of its own

    def _credit_late_thanks(self) -> None:
        while self.post.sounds[SOUND_THANKS] > self._credited:
            self._credited += 1
            late = next((press for press in reversed(self.presses) if not press.is_thanked), None)
            if late is None:
                self.thanked_for_nothing += 1
            else:
                late.is_thanked = True
