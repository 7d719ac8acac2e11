"""Bare paho at both ends of a broker: what a client in Python can do that does nothing else.

`python -m tools.bench.floor_client count PORT TOPIC N` says `ready -` when it has subscribed, `done` when it has counted N messages.
`… publish PORT TOPIC FILE WINDOW` publishes the lines of FILE at QoS 1 with so many unacknowledged, and says `ready SECONDS`:
how long it took until the last PUBACK.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

HOST = "127.0.0.1"


def count(port: int, topic: str, wanted: int) -> None:
    """Count messages."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    subscribed, done = threading.Event(), threading.Event()
    seen = 0

    def on_message(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == wanted:
            done.set()

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect(HOST, port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    subscribed.wait()
    print("ready -", flush=True)  # the line that starters wait for
    done.wait()
    print("done", flush=True)
    client.disconnect()
    client.loop_stop()


def publish(port: int, topic: str, file: Path, window: int) -> None:
    """Publish the lines of a file."""
    payloads = file.read_bytes().splitlines()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(window)
    room, left = threading.Semaphore(window), threading.Semaphore(0)

    def on_publish(*_: object) -> None:
        room.release()
        left.release()

    client.on_publish = on_publish
    client.connect(HOST, port)
    client.loop_start()
    began_s = time.monotonic()
    for payload in payloads:
        room.acquire()
        client.publish(topic, payload, qos=1)
    for _ in payloads:
        left.acquire()
    print("ready", time.monotonic() - began_s, flush=True)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    if sys.argv[1] == "count":
        count(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        publish(int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
