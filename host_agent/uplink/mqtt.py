"""The MQTT client (shell): paho behind a handful of calls, its threads hidden.

The queue is the outbox, never paho's memory: a record counts as sent when `on_publish` says so. MQTT 3.1.1 by default with a
session that outlives the connection, 5 by option. The client id comes from the installation, not from the PC's name, which a
cloned disk image would share.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from host_agent.uplink.reach import why_not
from host_agent.uplink.takeover import Takeover

KEEPALIVE_S = 20
RECONNECT_LEAST_S = 1
RECONNECT_MOST_S = 2
RECONNECT_SLOWLY_S = 30
SESSION_EXPIRY_S = 30 * 24 * 3600
STOP_S = 1.5
LOOK_EVERY_S = 30.0
"""How often the cause of failing connections is looked for: each look is a connection more."""
BESIDE_RECORDS = 20
"""Room in paho's window for what is no record: a state must not wait behind records, least of all the last one."""
TAKEN_OVER = (
    "连接屡被中断：数据目录是否被复制到另一台电脑？"
    "是则在复制的那台停止代理程序，删除数据目录中的 installation 文件，再启动；否则检查网络和本窗口的访问权限 "
    "the connection ends again and again: was this data directory copied to another PC? If so, stop the agent of the copy, delete the"
    " file `installation` in its data directory and start it again; if not, check the network, and this"
    " window's rights in the broker's access list"
)
_SAID_SO = 0x8E


@dataclass(frozen=True, slots=True)
class Broker:
    """How to reach the broker."""

    host: str
    port: int
    protocol: str = "3.1.1"
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    websocket_path: str | None = None
    """Where the broker takes MQTT over WebSocket; None for plain TCP or TLS."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What the client tells; every callable is called from paho's thread."""

    connected: Callable[[str], None]
    """With the session number that the will of this connection bears."""
    disconnected: Callable[[str], None]
    refused: Callable[[str], None]
    """Connected, but the broker does not let us publish or subscribe."""
    published: Callable[[int], None]
    received: Callable[[str, bytes], None]


class Connection(Protocol):
    """A way to the broker that keeps itself up."""

    def start(self) -> None:
        """Connect in the background."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """Hand over a message; return the number under which `published` will name it."""

    def stop(self) -> None:
        """Say goodbye and end."""


Connect = Callable[[Broker, str, int, str, str, Callable[[str], bytes], Listener], Connection]
"""Makes a connection from broker, client id, window, subscription, will topic, will and listener."""


def _send_at_once(_client: Client, _userdata: object, opened: Any) -> None:
    """Have no small packet wait for the broker's delayed ack of the one before it: that costs each record 40 ms."""
    # paho's wrapper around the socket of a WebSocket hides this call
    getattr(opened, "_socket", opened).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def new_client(broker: Broker, client_id: str) -> Client:
    """Return a client whose session outlives its connections, with the login and TLS that the broker wants."""
    five = broker.protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTv5 if five else MQTTv311,
        clean_session=None if five else False,
        transport="tcp" if broker.websocket_path is None else "websockets",
    )
    if broker.websocket_path is not None:
        client.ws_set_options(path=broker.websocket_path)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls)
    return client


def refused_login(reason: ReasonCode) -> str:
    """Return what to say when the broker refuses the connection."""
    return (
        "消息服务器拒绝连接，请检查用户名和密码 the broker refuses the connection:"
        f" {reason}; check mqtt.username and mqtt.password_file"
    )


def _unreachable(broker: Broker) -> str:
    place = f"{broker.host}:{broker.port}"
    if broker.websocket_path is not None:
        return (
            f"{place} 在 {broker.websocket_path} 不接受 WebSocket，请检查 mqtt.port 和 mqtt.websocket_path "
            "takes no WebSocket there: check mqtt.port and mqtt.websocket_path"
        )
    return f"无法连接消息服务器 {place} the broker cannot be reached; check address and network"


def refused_subscription(topic: str) -> str:
    """Return what to say when the broker refuses a subscription."""
    return f"消息服务器不允许订阅回执，请检查访问权限 no right to subscribe to {topic}: grant it in the access list"


class MqttLink:
    """One client; `start` connects in the background and keeps reconnecting until `stop`.

    Each connection has a session number of its own, in its will and (said by the owner) in its state: a will that comes after
    the state of the next connection is thereby known to be old. `will(session)` is called from paho's thread.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        window: int,
        subscription: str,
        will_topic: str,
        will: Callable[[str], bytes],
        listener: Listener,
    ) -> None:
        self._broker = broker
        self._listener = listener
        self._subscription = subscription
        self._will_topic = will_topic
        self._will = will
        self._session = ""
        self._is_accepted = False
        self._is_refusal_told = False
        self._looked_s = -LOOK_EVERY_S
        self._cause: str | None = None
        self._takeover = Takeover()
        self._is_v5 = broker.protocol == "5"
        client = self._client = new_client(broker, client_id)
        client.max_inflight_messages_set(window + BESIDE_RECORDS)
        client.max_queued_messages_set(0)
        client.reconnect_delay_set(RECONNECT_LEAST_S, RECONNECT_MOST_S)
        self._draw_session()
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
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
        """Say goodbye to the broker (it then sends no will) and end the thread, without waiting for a broker that hangs."""
        self._client.disconnect()
        # paho's join has no time-out, and its thread may be in the middle of a connect that nobody answers
        stopping = threading.Thread(target=self._client.loop_stop, name="mqtt stop", daemon=True)
        stopping.start()
        stopping.join(STOP_S)

    def _draw_session(self) -> None:
        self._session = secrets.token_hex(16)
        self._client.will_set(self._will_topic, self._will(self._session), qos=1, retain=True)

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._is_refusal_told = True
            self._listener.disconnected(refused_login(reason))
            return
        self._is_accepted = True
        self._takeover.connected(time.monotonic())
        client.subscribe(self._subscription, qos=1)
        self._listener.connected(self._session)
        if self._takeover.is_suspected:
            self._listener.refused(TAKEN_OVER)  # still: a status that says `connected` every half minute would hide it

    def _on_connect_fail(self, _client: Client, _userdata: object) -> None:
        broker = self._broker
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._cause = why_not(broker)
        self._listener.disconnected(self._cause or _unreachable(broker))

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._looked_s = -LOOK_EVERY_S  # the next failure may have another cause
        if not self._is_accepted:
            if not self._is_refusal_told:
                self._listener.disconnected(self._no_answer())
            self._is_refusal_told = False
            return
        self._is_accepted = False
        self._draw_session()
        self._takeover.ended(time.monotonic(), said_so=reason.value == _SAID_SO)
        if self._takeover.is_suspected:
            self._client.reconnect_delay_set(RECONNECT_SLOWLY_S // 2, RECONNECT_SLOWLY_S)
            self._listener.disconnected(TAKEN_OVER)
            return
        self._client.reconnect_delay_set(RECONNECT_LEAST_S, RECONNECT_MOST_S)
        self._listener.disconnected(f"与消息服务器的连接中断 connection to the broker lost: {reason}")

    def _no_answer(self) -> str:
        place = f"{self._broker.host}:{self._broker.port}"
        if self._broker.tls is None:
            return (
                f"{place} 未应答即断开：该端口需要 TLS 吗？请设置 mqtt.tls 或 mqtt.ca_file "
                "ended the connection without an answer: does that port expect TLS? Set mqtt.tls or mqtt.ca_file"
            )
        return (
            f"{place} 未应答即断开：需要客户端证书吗？请设置 mqtt.cert_file 和 mqtt.key_file "
            "ended the connection without an answer: does it want a client certificate? Set mqtt.cert_file and mqtt.key_file"
        )

    def _on_subscribe(
        self, _client: Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._listener.refused(refused_subscription(self._subscription))

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            # not acknowledged: the record stays to be sent, and the missing ack will be noticed
            self._listener.refused(
                f"消息服务器拒收消息，请检查访问权限 the broker refuses a message: {reason}; check the agent's rights on its topics"
            )
            return
        self._listener.published(mid)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._listener.received(message.topic, bytes(message.payload))
