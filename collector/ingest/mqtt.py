"""The connection to the broker: deliveries into a queue, acknowledgements and receipts out of it.

A delivery is acknowledged only when the pipeline says that it is durable. A broker forgets what was acknowledged, and numbers
deliveries per connection: an acknowledgement for an earlier connection is dropped, the broker delivers again, and the store
knows the record already. Reconnecting is a normal state with a counter; two collectors with one client id would throw each
other out for ever, so that is recognised and said. Called by service; paho runs its own network thread.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from collector.client import new_client
from collector.config import MqttConfig
from collector.ingest.core import Message
from collector.ingest.counters import Counters
from protocol.topics import Up, all_up

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
RECONNECT_MIN_S, RECONNECT_MAX_S = 1, 30
IN_FLIGHT = 1000
"""Deliveries that a broker may have on the way to us (MQTT 5; with 3.1.1 the broker's own limit holds)."""
SHORT_LIVED_S = 5.0
SHORT_LIVED_IN_A_ROW = 3
SESSION_EXPIRY_S = 0xFFFFFFFF
_TAKEN_OVER = 0x8E
_SUBSCRIPTIONS = (
    (all_up(Up.RECORD), 1),
    (all_up(Up.CASE), 1),
    (all_up(Up.ABSENCE), 1),
    (all_up(Up.STATE), 1),
    (all_up(Up.HEALTH), 0),
)


class Delivery(NamedTuple):
    """One message as it came: `mid` and `connection` say what an acknowledgement has to name."""

    message: Message
    qos: int
    mid: int
    connection: int


def _send_at_once(_client: paho.Client, _data: Any, opened: Any) -> None:
    """Have no small packet wait for the broker's delayed ack of the one before it: that costs each receipt 40 ms."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Broker:
    """A connection that keeps itself up from `start` to `stop`."""

    def __init__(self, config: MqttConfig, counters: Counters) -> None:
        self.inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self.subscribed = threading.Event()
        self._config = config
        self._counters = counters
        self._connection = 0
        self._connected_at_s = 0.0
        self._short_lived = 0
        self._client = self._make_client()

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return f"{self._config.host}:{self._config.port}"

    def start(self) -> None:
        """Connect, now or as soon as the broker is there."""
        more: dict[str, Any] = {}
        if self._config.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = IN_FLIGHT
            more = {"clean_start": False, "properties": properties}
        self._client.connect_async(self._config.host, self._config.port, KEEPALIVE_S, **more)
        self._client.loop_start()

    def stop(self) -> None:
        """Send what is still to be sent, close the connection and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()
        self.subscribed.clear()

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Tell the broker that it may forget these; they are durable."""
        for delivery in deliveries:
            if delivery.qos and delivery.connection == self._connection:
                self._client.ack(delivery.mid, delivery.qos)

    def publish(self, messages: list[Message]) -> None:
        """Publish receipts. Without a connection they are dropped: an agent without a receipt asks again by repeating."""
        for message in messages:
            if not self._client.is_connected():
                self._counters.one("receipts_dropped")
                continue
            self._client.publish(message.topic, message.payload, qos=1)

    def _make_client(self) -> paho.Client:
        client = new_client(self._config, self._config.client_id, keeps_session=True)
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
        client.max_inflight_messages_set(100)
        client.max_queued_messages_set(10_000)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_connect_fail = self._on_connect_fail
        return client

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Any) -> None:
        if reason.is_failure:
            self._counters.one("connect_refused")
            log.error(
                "broker %s refuses the connection: %s; check [mqtt] username, password and client_id", self.address, reason
            )
            return
        self._connection += 1
        self._connected_at_s = time.monotonic()
        self._counters.one("connects")
        if self._config.protocol == "5":
            client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in _SUBSCRIPTIONS])
        else:
            client.subscribe(list(_SUBSCRIPTIONS))

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _more: Any) -> None:
        refused = [topic for (topic, _), reason in zip(_SUBSCRIPTIONS, reasons, strict=False) if reason.is_failure]
        if refused:
            log.error("broker %s refuses the subscription to %s: grant it in the access list", self.address, ", ".join(refused))
            return
        log.info("subscribed at broker %s", self.address)
        self.subscribed.set()

    def _on_disconnect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Any) -> None:
        self._connection += 1
        self.subscribed.clear()
        if not reason.is_failure:
            return
        self._counters.one("disconnects")
        lived_s = time.monotonic() - self._connected_at_s
        self._short_lived = self._short_lived + 1 if lived_s < SHORT_LIVED_S else 0
        if reason.value == _TAKEN_OVER or self._short_lived == SHORT_LIVED_IN_A_ROW:
            log.error(
                "thrown out by broker %s again and again: is another collector running with client_id %r?",
                self.address,
                self._config.client_id,
            )
            client.reconnect_delay_set(RECONNECT_MAX_S // 2, RECONNECT_MAX_S)
        elif not self._short_lived:
            client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
            log.warning("broker %s is gone (%s); reconnecting", self.address, reason)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._counters.one("connect_failed")
        first = self._counters.snapshot()["connect_failed"] == 1
        log.log(logging.WARNING if first else logging.DEBUG, "broker %s cannot be reached; trying on", self.address)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self.inbox.put(Delivery(Message(topic, bytes(message.payload)), message.qos, message.mid, self._connection))
