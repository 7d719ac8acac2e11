"""MQTT over WebSocket, where a firewall lets nothing else pass: the whole way of a rating, over a broker that is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Broker, free_port, start_mosquitto, start_nats
from tests.hall import Hall, eventually

pytestmark = pytest.mark.e2e

Start = Callable[[Path, int], Broker]


def nats(folder: Path, port: int) -> Broker:
    return start_nats(folder, more=f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}')


def mosquitto(folder: Path, port: int) -> Broker:
    return start_mosquitto(folder, more=f"listener {port} 127.0.0.1\nprotocol websockets\n")


# NATS speaks no MQTT 5
@pytest.mark.parametrize(("start", "protocol"), [(nats, "3.1.1"), (mosquitto, "3.1.1"), (mosquitto, "5")])
def test_ratings_are_collected_over_websockets(tmp_path: Path, start: Start, protocol: str) -> None:
    port = free_port()
    with Hall(tmp_path / "hall", start(tmp_path / "broker", port), protocol=protocol) as hall:
        text = hall.agent.config.read_text()
        wanted = text.replace(f"port = {hall.broker.port}\n", f'port = {port}\ntransport = "websockets"\n')
        assert wanted != text
        hall.agent.config.write_text(wanted)
        hall.start()
        hall.open("C-1")
        hall.device.press(0)
        hall.await_collected(1)
        hall.broker.kill()
        eventually("the agent notices", lambda: not hall.status()["broker_connected"])
        hall.device.press(4)
        hall.broker.start()
        hall.await_collected(2)
        hall.await_released()


def test_a_port_that_speaks_no_websocket_is_told_of(tmp_path: Path) -> None:
    with Hall(tmp_path / "hall", start_mosquitto(tmp_path / "broker")) as hall:
        hall.agent.config.write_text(hall.agent.config.read_text().replace("[mqtt]\n", '[mqtt]\ntransport = "websockets"\n'))
        hall.agent.start()
        trouble = eventually("the agent says why", lambda: hall.status()["broker_trouble"])
        assert "WebSocket" in trouble
