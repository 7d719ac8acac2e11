"""Whether somebody else uses our name at the broker (pure).

A broker that gets a second client of the same name throws the first one out; the first one comes back and throws out the second,
for ever. MQTT 5 says why, 3.1.1 does not: there it shows in connections that end soon after they began, several in a row.
Once suspected it stays so until a connection has stood for a while: the slower coming back makes connections longer.
"""

from __future__ import annotations

SHORT_S = 5.0
SHORT_IN_A_ROW = 3
STANDING_S = 120.0


class Takeover:
    """Told of each connection of one client; `is_suspected` says what to think of it."""

    def __init__(self) -> None:
        self._began_s = 0.0
        self._short = 0
        self.is_suspected = False

    def connected(self, now_s: float) -> None:
        """Note that a connection was accepted."""
        self._began_s = now_s

    def ended(self, now_s: float, *, said_so: bool) -> None:
        """Note that it ended; `said_so` when the broker gave another client as the reason."""
        is_short = now_s - self._began_s < (STANDING_S if self.is_suspected else SHORT_S)
        self._short = self._short + 1 if is_short else 0
        self.is_suspected = said_so or self._short >= SHORT_IN_A_ROW
