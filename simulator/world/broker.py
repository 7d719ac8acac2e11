"""A broker with persistent sessions between one agent and the collector, and the client's part that paho plays.

QoS 1: a message is the broker's when it has arrived, and acknowledged a moment later; what was not acknowledged when a connection
ended is sent again by the client on the next. The broker may be slow or away, keep a connection that carries nothing, deliver twice,
out of order or altered, deliver a will long after the next connection, and forget what it has acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from host_agent.uplink.mqtt import Broker as Address
from host_agent.uplink.mqtt import Listener
from simulator.world.scheduler import Scheduler
from simulator.world.trace import Trace, message_words

LATENCY_S = 0.003
CONNECTING_S = 0.2
RETRY_S = 1.0
WILL_MOST_S = 20.0
"""How long after the end of a connection its will may still come."""

Alter = Callable[[str, bytes], tuple[str, bytes] | None]
"""Makes of a message another one, or leaves it at that (None)."""


class Broker:
    """Queues towards the collector and towards one agent."""

    def __init__(self, scheduler: Scheduler, trace: Trace, random: Random, who: str) -> None:
        self._scheduler = scheduler
        self._trace = trace
        self._random = random
        self.who = who
        self.reachable = True
        self.is_half_open = False
        """Connections stand and carry nothing."""
        self.latency_s = LATENCY_S
        self.noise: tuple[float, Random] | None = None
        """How often a message is delivered twice or out of order, and what decides."""
        self.forger: Alter | None = None
        """Somebody who sends an altered copy of the next message that he can use."""
        self.upward: list[tuple[str, bytes]] = []
        self.wake_collector: Callable[[], None] = lambda: None
        """Called when something waits for the collector."""
        self.last_record: tuple[str, bytes] | None = None
        """The record message that came last: what somebody who listens has to forge with."""
        self._downward: list[tuple[str, bytes]] = []
        self.client: Client | None = None
        self.disturbed = 0
        self.on_the_way = 0
        self._forgets = 0

    def connect(
        self,
        _address: Address,
        _client_id: str,
        _window: int,
        _subscription: str,
        will_topic: str,
        will: Callable[[str], bytes],
        listener: Listener,
    ) -> Client:
        """Make the agent's connection; has the shape of the agent's `Connect`."""
        self.client = Client(self, self._scheduler, lambda session: (will_topic, will(session)), listener)
        return self.client

    def take(self, topic: str, payload: bytes) -> None:
        """Queue a message for the collector, perhaps twice, perhaps in another place, perhaps not at all."""
        if self._forgets:
            self._forgets -= 1
            self._trace.note(self.who, f"forgets {message_words(topic, payload)}")
            return
        if self._trace.on:
            self._trace.note(self.who, f"takes {message_words(topic, payload)}")
        self.upward.append((topic, payload))
        if topic.endswith("/record"):
            self.last_record = (topic, payload)
        if self.noise is not None and self.noise[1].random() < self.noise[0]:
            random = self.noise[1]
            self.disturbed += 1
            place = random.randrange(len(self.upward))
            self.upward.insert(place, (topic, payload) if random.randrange(2) else self.upward.pop())
        if self.forger is not None:
            altered = self.forger(topic, payload)
            if altered is not None:
                self.upward.append(altered)
                self.forger = None
                self._trace.note(self.who, f"somebody sends an altered copy: {message_words(*altered)}")
        self.wake_collector()

    def give(self, topic: str, payload: bytes) -> None:
        """Queue a message for the agent and deliver what can be delivered."""
        if self._trace.on:
            self._trace.note(self.who, f"brings {message_words(topic, payload)}")
        self._downward.append((topic, payload))
        self.deliver()

    def deliver(self) -> None:
        """Hand the agent what waits for it."""
        if self.client is not None and self.client.is_up:
            waiting, self._downward = self._downward, []
            for topic, payload in waiting:
                self.client.hear(topic, payload)

    def drop_connection(self) -> None:
        """End the agent's connection; it comes back by itself."""
        if self.client is not None:
            self.client.drop()

    def forget(self, more: int) -> None:
        """Lose everything that waits to be delivered, and as many more that it will acknowledge."""
        self.upward.clear()
        self._downward.clear()
        self._trace.note(self.who, f"forgets everything that waits, and the next {more}")
        self._forgets = more

    def new_session(self) -> str:
        """Draw the session number of a connection, 32 hex digits."""
        return f"{self._random.getrandbits(128):032x}"

    def publish_will(self, will: tuple[str, bytes]) -> None:
        """Say that a connection has ended, sooner or later."""
        self._scheduler.after(self._random.random() * WILL_MOST_S, lambda: self.take(*will))

    def mend(self) -> None:
        """Be a good broker from now on."""
        if self.is_half_open:
            self.is_half_open = False
            self.drop_connection()
        self.reachable = True
        self.latency_s = LATENCY_S
        self.noise = self.forger = None
        self._forgets = 0


class Client:
    """What paho does for the agent."""

    def __init__(
        self, broker: Broker, scheduler: Scheduler, will: Callable[[str], tuple[str, bytes]], listener: Listener
    ) -> None:
        self._broker = broker
        self._scheduler = scheduler
        self._will = will
        self._listener = listener
        self._unacknowledged: dict[int, tuple[str, bytes]] = {}
        self._number = 0
        self._connection = 0
        self._stopped = False
        self._last_will: tuple[str, bytes] | None = None
        self._line_free_s = 0.0
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
        """Say goodbye: no will is sent."""
        self._stopped = True
        self.is_up = False
        self._connection += 1
        self._last_will = None

    def vanish(self) -> None:
        """Be gone without a word, as a process that was killed."""
        will = self._last_will
        self.stop()
        if will is not None:
            self._broker.publish_will(will)

    def hear(self, topic: str, payload: bytes) -> None:
        """Hand a message to the agent."""
        if not self._broker.is_half_open:
            self._after(lambda: None if self._stopped else self._listener.received(topic, payload))

    def drop(self) -> None:
        """Lose the connection and come back."""
        if self.is_up:
            self.is_up = False
            self._connection += 1
            will, self._last_will = self._last_will, None
            if will is not None:
                self._broker.publish_will(will)
            self._listener.disconnected("dropped")
            self._scheduler.after(CONNECTING_S, self._try)

    def _try(self) -> None:
        if self._stopped or self.is_up:
            return
        if not self._broker.reachable or self._broker.is_half_open:
            self._scheduler.after(RETRY_S, self._try)
            return
        self.is_up = True
        session = self._broker.new_session()
        self._last_will = self._will(session)
        self._listener.connected(session)
        for number, (topic, payload) in list(self._unacknowledged.items()):
            self._send(number, topic, payload)
        self._broker.deliver()

    def _after(self, what: Callable[[], None]) -> None:
        """Have something happen when it has gone through the broker, in the order in which it was sent."""
        self._line_free_s = max(self._line_free_s, self._scheduler.now_s + self._broker.latency_s)
        self._scheduler.after(self._line_free_s - self._scheduler.now_s, what)

    def _send(self, number: int, topic: str, payload: bytes) -> None:
        connection = self._connection
        broker = self._broker
        broker.on_the_way += 1

        def arrives() -> None:
            broker.on_the_way -= 1
            # the client may have lost the connection meanwhile: the message still gets there, its acknowledgement does not
            if broker.reachable and not broker.is_half_open:
                broker.take(topic, payload)
                self._scheduler.after(LATENCY_S, acknowledged)

        def acknowledged() -> None:
            if connection == self._connection and not self._stopped and not broker.is_half_open:
                self._unacknowledged.pop(number, None)
                self._listener.published(number)

        self._after(arrives)
