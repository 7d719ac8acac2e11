"""Processes that shall run: each is started again when it has ended, as a service manager does, unless a fault keeps it down."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Protocol

from simulator.postgresql import Cluster
from simulator.services import Service

STARTED_AGAIN_AFTER_S = 0.5


class Program(Protocol):
    """What a fault may do to a process."""

    held_down: bool
    """A fault keeps it from being started again."""
    ended_by_itself: int
    """How often it had to be started although no fault had ended it."""

    def start(self) -> None:
        """Start it, without waiting until it answers."""

    def kill(self) -> None:
        """End it without a chance to write anything."""

    def freeze(self) -> None:
        """Stop it where it is."""

    def thaw(self) -> None:
        """Let it go on."""

    def is_running(self) -> bool:
        """Tell whether it lives."""

    def stop(self) -> None:
        """End it politely."""


class Ours:
    """One of our programs, or a broker."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.url = ""
        """The address that it has said, while it runs."""
        self.held_down = False
        self.ended_by_itself = 0

    def start(self) -> None:
        """Start it; its address is known when it has said so."""
        self.url = ""
        self.service.kill()
        self.service.start()
        threading.Thread(target=self._hear, name=f"{self.service.name} says", daemon=True).start()

    def kill(self) -> None:
        """End it without a chance to write anything."""
        self.url = ""
        self.service.kill()

    def freeze(self) -> None:
        """Stop it where it is."""
        self.service.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.service.thaw()

    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self.service.is_running()

    def stop(self) -> None:
        """End it politely."""
        self.service.stop()

    def _hear(self) -> None:
        for line in self.service.lines():
            word, _, rest = line.partition(" ")
            if word == "ready":
                self.url = rest.strip()


class DatabaseServer:
    """The PostgreSQL server."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.held_down = False
        self.ended_by_itself = 0

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        self.cluster.launch()

    def kill(self) -> None:
        """End it without a chance to write anything."""
        self.cluster.kill()

    def freeze(self) -> None:
        """Stop it and its sessions where they are."""
        if sys.platform != "win32":
            self.cluster.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if sys.platform != "win32":
            self.cluster.signal_all(signal.SIGCONT)

    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self.cluster.is_running()

    def stop(self) -> None:
        """End it politely."""
        self.thaw()
        self.cluster.stop()


class Keeper:
    """Looks after one program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._was_held_down = False
        self._ended_at_s: float | None = None

    def look(self, now_s: float) -> None:
        """Start the program when it has been down for a moment and may run."""
        program = self._program
        self._was_held_down = self._was_held_down or program.held_down
        if program.held_down or program.is_running():
            self._ended_at_s = None
            self._was_held_down = program.held_down
        elif self._ended_at_s is None:
            self._ended_at_s = now_s
        elif now_s - self._ended_at_s >= STARTED_AGAIN_AFTER_S:
            program.ended_by_itself += not self._was_held_down
            self._was_held_down, self._ended_at_s = False, None
            program.start()
