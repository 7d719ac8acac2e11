"""The windows' agents and their local API as one thing that runs: what `agent run` and the service of Windows have in common.

Each window's agent works in a thread of its own (the first one's is the caller's), with the ports of the machine shared among them.
One that ends with an error ends all: the service manager starts the process again, and every agent begins from what is durable.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from host_agent.agent import Agent
from host_agent.api.server import ApiServer, Served
from host_agent.config import Config
from host_agent.link.shared_ports import SharedPorts
from host_agent.service.log_ring import keep_last_lines
from host_agent.surroundings import Surroundings
from host_agent.windows import each


class Running:
    """Made in the thread that calls `run`. AgentError says why it cannot be."""

    def __init__(self, settings: Config) -> None:
        os.umask(0o077)  # the databases hold ratings: not for whoever else works at this PC
        keep_last_lines()
        windows = each(settings)
        surroundings = Surroundings()
        shared = SharedPorts(surroundings.ports)
        self._beats = _Beats(len(windows))
        self._others: list[_OtherWindow] = []
        self._agent = Agent(windows[0], replace(surroundings, ports=shared.for_window(windows[0].place.window)))
        try:
            for number, one in enumerate(windows[1:], 1):
                ports = shared.for_window(one.place.window)
                self._others.append(_OtherWindow(one, replace(surroundings, ports=ports), self._beats.of(number), self.stop))
            agents = [self._agent, *(other.agent for other in self._others)]
            served = [Served(agent, one.data_dir, one.api) for agent, one in zip(agents, windows, strict=True)]
            self._server = ApiServer(served)
        except BaseException:
            self._end_others()
            self._agent.end()
            raise
        self.agents = {one.place.window: agent for one, agent in zip(windows, agents, strict=True)}
        """Each window's agent by the window's number."""

    def run(self, ready: Callable[[str], None], beat: Callable[[], None], stopping: Callable[[], None]) -> None:
        """Work until `stop`. `ready` hears the API's address when it answers, `stopping` that the end has begun.

        `beat` is called as long as every window's loop turns.
        """
        self._server.start()
        ready(self._server.url)
        self._beats.beat = beat
        for other in self._others:
            other.go()
        try:
            self._agent.run(self._beats.of(0))
        finally:
            stopping()
            with contextlib.ExitStack() as ending:  # the server last, whatever the others say
                ending.callback(self._server.stop)
                self._end_others()

    def stop(self) -> None:
        """Make `run` return; from any thread or signal handler."""
        self._agent.stop()
        for other in self._others:
            other.stop()

    def _end_others(self) -> None:
        for other in self._others:
            other.stop()
        with contextlib.ExitStack() as ending:  # each to its end, whatever another one says
            for other in self._others:
                ending.callback(other.join)


class _Beats:
    """Calls `beat` when each of several loops has turned since the last time."""

    def __init__(self, count: int) -> None:
        self.beat: Callable[[], None] = lambda: None
        self._all = frozenset(range(count))
        self._turned: set[int] = set()
        self._lock = threading.Lock()

    def of(self, number: int) -> Callable[[], None]:
        """Return what the loop of that number calls."""

        def turned() -> None:
            with self._lock:
                self._turned.add(number)
                if self._turned == self._all:
                    self._turned.clear()
                    self.beat()

        return turned


class _OtherWindow:
    """Another window's agent in its own thread; made there too, for its database belongs to the thread that opened it."""

    def __init__(
        self, config: Config, surroundings: Surroundings, beat: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self._made: Future[Agent] = Future()
        self._going = threading.Event()
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._work, args=(config, surroundings, beat, failed), name=f"window {config.place.window}", daemon=True
        )
        self._thread.start()
        self.agent = self._made.result()

    def go(self) -> None:
        """Begin to work."""
        self._going.set()

    def stop(self) -> None:
        """Have it end."""
        self._stopped = True
        self._going.set()
        self.agent.stop()

    def join(self) -> None:
        """Wait for its end; raise what ended it, if it was not `stop`."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, config: Config, surroundings: Surroundings, beat: Callable[[], None], failed: Callable[[], None]) -> None:
        try:
            agent = Agent(config, surroundings)
        except BaseException as error:  # the caller's thread raises it
            self._made.set_exception(error)
            return
        self._made.set_result(agent)
        self._going.wait()
        try:
            if self._stopped:
                agent.end()
            else:
                agent.run(beat)
        except BaseException as error:  # the same
            self._error = error
            failed()
