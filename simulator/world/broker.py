"""A broker with persistent sessions between one agent and the collector, and the client's part that paho plays.

QoS 1: a message is the broker's when it has arrived, and acknowledged a moment later; what was not acknowledged when a connection
ended is sent again by the client on the next. The broker may deliver twice and out of order, and may forget what it has
acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from host_agent.uplink.mqtt import Broker as Address
from host_agent.uplink.mqtt import Listener
from simulator.world.scheduler import Scheduler

LATENCY_S = 0.003
CONNECTING_S = 0.2


class Broker:
    """Queues towards the collector and towards one agent."""

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        self._scheduler = scheduler
        self._random = random
        self.reachable = True
        self.upward: list[tuple[str, bytes]] = []
        self.downward: list[tuple[str, bytes]] = []
        self.client: Client | None = None
        self.fault_rate = 0.0
        self.faults = 0
        self._forgets = 0

    def connect(
        self,
        _address: Address,
        _client_id: str,
        _window: int,
        _subscription: str,
        _will_topic: str,
        _will: Callable[[str], bytes],
        listener: Listener,
    ) -> Client:
        """Make the agent's connection; has the shape of the agent's `Connect`."""
        self.client = Client(self, self._scheduler, listener)
        return self.client

    def take(self, topic: str, payload: bytes) -> None:
        """Queue a message for the collector, perhaps twice, perhaps in another place, perhaps not at all."""
        if self._forgets:
            self._forgets -= 1
            return
        self.upward.append((topic, payload))
        if self._random.random() < self.fault_rate:
            self.faults += 1
            place = self._random.randrange(len(self.upward))
            if self._random.randrange(2):
                self.upward.insert(place, (topic, payload))
            else:
                self.upward.insert(place, self.upward.pop())

    def give(self, topic: str, payload: bytes) -> None:
        """Queue a message for the agent and deliver what can be delivered."""
        self.downward.append((topic, payload))
        self.deliver()

    def deliver(self) -> None:
        """Hand the agent what waits for it."""
        if self.client is not None and self.client.is_up:
            waiting, self.downward = self.downward, []
            for topic, payload in waiting:
                self.client.hear(topic, payload)

    def drop_connection(self) -> None:
        """End the agent's connection; it comes back by itself."""
        if self.client is not None:
            self.client.drop()

    def forget(self, more: int) -> None:
        """Lose everything that waits to be delivered, and as many more that it will acknowledge."""
        self.upward.clear()
        self.downward.clear()
        self._forgets = more

    def forget_nothing(self) -> None:
        """Be a good broker from now on."""
        self._forgets = 0


class Client:
    """What paho does for the agent."""

    def __init__(self, broker: Broker, scheduler: Scheduler, listener: Listener) -> None:
        self._broker = broker
        self._scheduler = scheduler
        self._listener = listener
        self._unacknowledged: dict[int, tuple[str, bytes]] = {}
        self._number = 0
        self._connection = 0
        self._stopped = False
        self.is_up = False

    def start(self) -> None:
        """Connect in the background."""
        self._scheduler.after(CONNECTING_S, self._try)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:  # noqa: ARG002  # the shape is the agent's
        """Send, or keep for the next connection."""
        self._number += 1
        if qos:
            self._unacknowledged[self._number] = (topic, payload)
        if self.is_up:
            self._send(self._number, topic, payload)
        return self._number

    def stop(self) -> None:
        """Say goodbye, or be gone."""
        self._stopped = True
        self.is_up = False
        self._connection += 1

    def hear(self, topic: str, payload: bytes) -> None:
        """Hand a message to the agent."""
        self._scheduler.after(LATENCY_S, lambda: None if self._stopped else self._listener.received(topic, payload))

    def drop(self) -> None:
        """Lose the connection and come back."""
        if self.is_up:
            self.is_up = False
            self._connection += 1
            self._listener.disconnected("dropped")
            self._scheduler.after(CONNECTING_S, self._try)

    def _try(self) -> None:
        if self._stopped or self.is_up:
            return
        if not self._broker.reachable:
            self._scheduler.after(1.0, self._try)
            return
        self.is_up = True
        self._listener.connected(f"{self._connection:032x}")
        for number, (topic, payload) in list(self._unacknowledged.items()):
            self._send(number, topic, payload)
        self._broker.deliver()

    def _send(self, number: int, topic: str, payload: bytes) -> None:
        connection = self._connection

        def arrives() -> None:
            # the client may have lost the connection meanwhile: the message still gets there, its acknowledgement does not
            if self._broker.reachable:
                self._broker.take(topic, payload)
                self._scheduler.after(LATENCY_S, acknowledged)

        def acknowledged() -> None:
            if connection == self._connection and not self._stopped:
                self._unacknowledged.pop(number, None)
                self._listener.published(number)

        self._scheduler.after(LATENCY_S, arrives)
