"""What the collector asks of its connection to the broker."""

from __future__ import annotations

import socket

from collector.config import MqttConfig
from collector.ingest.counters import Counters
from collector.ingest.mqtt import Broker


def test_a_small_packet_waits_for_no_other() -> None:
    # an ack and a receipt after it: held back by Nagle's algorithm the receipt came 40 ms late
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = Broker(MqttConfig(), Counters())
        broker._client.connect(*server.getsockname())
        connected = broker._client.socket()
        assert isinstance(connected, socket.socket)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connected.close()
