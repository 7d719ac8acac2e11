"""A bare paho subscriber in this process, which notes when messages came."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from simulator.services import HOST


def no_delay(_client: paho.Client, _data: Any, opened: Any) -> None:
    """Send small packets at once: held back for the other side's delayed ack they would measure 40 ms of waiting."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Subscriber:
    """Subscribed when made; calls `heard(topic, payload, monotonic time)` on its thread."""

    def __init__(self, port: int, topic: str, heard: Callable[[str, bytes, float], None]) -> None:
        self._heard = heard
        self._subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_socket_open = no_delay
        self.client.connect(HOST, port)
        self.client.subscribe(topic, qos=1)
        self.client.loop_start()
        if not self._subscribed.wait(10):
            raise TimeoutError(f"no subscription to {topic}")

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._heard(message.topic, bytes(message.payload), time.monotonic())
