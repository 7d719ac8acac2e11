"""The MQTT client (shell): paho behind a handful of calls, its threads hidden.

The queue is the outbox, never paho's memory: a record counts as sent when `on_publish` says so. MQTT 3.1.1 by default with a
session that outlives the connection, 5 by option. The client id comes from the installation, not from the PC's name, which a
cloned disk image would share.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger("agent.mqtt")

KEEPALIVE_S = 20
RECONNECT_LEAST_S = 1
RECONNECT_MOST_S = 3
SESSION_EXPIRY_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Broker:
    """How to reach the broker."""

    host: str
    port: int
    protocol: str = "3.1.1"
    username: str | None = None
    password: str | None = None
    uses_tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """What the client tells; every callable is called from paho's thread."""

    connected: Callable[[], None]
    disconnected: Callable[[str], None]
    published: Callable[[int], None]
    received: Callable[[str, bytes], None]


class MqttLink:
    """One client; `start` connects in the background and keeps reconnecting until `stop`."""

    def __init__(
        self, broker: Broker, client_id: str, window: int, subscription: str, will: tuple[str, bytes], listener: Listener
    ) -> None:
        self._broker = broker
        self._listener = listener
        self._subscription = subscription
        self._is_v5 = broker.protocol == "5"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTv5 if self._is_v5 else MQTTv311,
            clean_session=None if self._is_v5 else False,
        )
        client = self._client
        client.max_inflight_messages_set(window)
        client.max_queued_messages_set(0)
        client.reconnect_delay_set(RECONNECT_LEAST_S, RECONNECT_MOST_S)
        client.will_set(will[0], will[1], qos=1, retain=True)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.uses_tls:
            client.tls_set(
                ca_certs=_path(broker.ca_file),
                certfile=_path(broker.cert_file),
                keyfile=_path(broker.key_file),
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    def start(self) -> None:
        """Connect in the background."""
        broker = self._broker
        if self._is_v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's own omission
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            self._client.connect_async(broker.host, broker.port, KEEPALIVE_S, clean_start=False, properties=properties)
        else:
            self._client.connect_async(broker.host, broker.port, KEEPALIVE_S)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """Hand over a message; return the number under which `published` will name it."""
        return self._client.publish(topic, payload, qos=qos, retain=retain).mid

    def stop(self) -> None:
        """Say goodbye to the broker (it then sends no will) and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._listener.disconnected(f"消息服务器拒绝连接 the broker refuses: {reason}")
            return
        client.subscribe(self._subscription, qos=1)
        self._listener.connected()

    def _on_connect_fail(self, _client: Client, _userdata: object) -> None:
        broker = self._broker
        self._listener.disconnected(
            f"无法连接消息服务器 {broker.host}:{broker.port} the broker cannot be reached; check address and network"
        )

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._listener.disconnected(f"与消息服务器的连接中断 connection to the broker lost: {reason}")

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            # not acknowledged: the record stays to be sent, and the missing ack will be noticed
            log.warning("the broker refuses a message: %s; check the agent's rights on its topics", reason)
            return
        self._listener.published(mid)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._listener.received(message.topic, bytes(message.payload))


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
