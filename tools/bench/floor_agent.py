"""The least that could be called an agent: serial line → SQLite → MQTT, with a commit before the ack and nothing else.

`python -m tools.bench.floor_agent PORT DATABASE BROKER_PORT TOPIC`. What lies between two zero bytes is taken for a frame, stored and
published as it came: no check, no signature, no order, no device, no API. A floor to measure against, never to use.
"""

from __future__ import annotations

import sqlite3
import sys

import paho.mqtt.client as paho
import serial
from paho.mqtt.enums import CallbackAPIVersion

from tools.bench.subscriber import no_delay


def main(port: str, database: str, broker_port: str, topic: str) -> None:
    """Carry frames until the line ends."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, frame BLOB NOT NULL)")
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(100)
    client.on_socket_open = no_delay
    client.connect("127.0.0.1", int(broker_port))
    client.loop_start()
    line = serial.Serial(port, 115_200, timeout=0.5)
    print("ready -", flush=True)  # the line that starters wait for
    rest = b""
    while True:
        try:
            *frames, rest = (rest + line.read(max(1, line.in_waiting))).split(b"\x00")
        except OSError:
            return
        frames = [frame for frame in frames if frame]
        if not frames:
            continue
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO outbox (frame) VALUES (?)", [(frame,) for frame in frames])
        connection.execute("COMMIT")
        line.write(b"\x00ack\x00")
        for frame in frames:
            client.publish(topic, frame, qos=1)


if __name__ == "__main__":
    main(*sys.argv[1:5])
