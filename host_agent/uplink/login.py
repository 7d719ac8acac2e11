"""One login at the broker, to see whether it lets us: connection, user, subscription.

It bears the agent's own client id and keeps its session, so it must not be tried while the agent runs: the broker would throw
that one off. Called by `checks`.
"""

from __future__ import annotations

import queue
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.reasoncodes import ReasonCode

from host_agent.uplink.mqtt import Broker, new_client, refused_login, refused_subscription

ANSWER_S = 10.0


def try_login(broker: Broker, client_id: str, subscription: str, answer_s: float = ANSWER_S) -> str | None:
    """Return what the broker refuses, in words; None when it accepts. OSError when it cannot be reached."""
    outcome: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    client = new_client(broker, client_id)

    def connected(_client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            outcome.put(refused_login(reason))
        else:
            client.subscribe(subscription, qos=1)

    def subscribed(_client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _more: object) -> None:
        outcome.put(refused_subscription(subscription) if any(reason.is_failure for reason in reasons) else None)

    def ended(_client: Client, _data: object, _flags: object, _reason: ReasonCode, _more: Any) -> None:
        outcome.put("消息服务器未应答即断开 the broker ended the connection without an answer")

    client.on_connect, client.on_subscribe, client.on_disconnect = connected, subscribed, ended
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        return outcome.get(timeout=answer_s)
    except queue.Empty:
        return f"消息服务器 {answer_s:g} 秒内未应答 the broker does not answer within {answer_s:g} s"
    finally:
        client.on_disconnect = None
        client.disconnect()
        client.loop_stop()
