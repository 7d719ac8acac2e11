"""What the agent asks of a broker, seen at the client that would say it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from paho.mqtt.client import DisconnectFlags
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from host_agent.uplink.mqtt import Broker, Listener, MqttLink


def nothing(*_arguments: object) -> None:
    """Nobody listens."""


@pytest.fixture
def link() -> MqttLink:
    listener = Listener(connected=nothing, disconnected=nothing, refused=nothing, published=nothing, received=nothing)
    return MqttLink(Broker("127.0.0.1", 1), "hcp-agent-1", 10, "down", "state", lambda session: session.encode(), listener)


def test_records_are_repeated_until_acknowledged_and_the_session_outlives_the_connection(
    link: MqttLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []
    publish = link._client.publish

    def watch(*arguments: Any, **options: Any) -> Any:
        said.append(options)
        return publish(*arguments, **options)

    monkeypatch.setattr(link._client, "publish", watch)
    link.publish("up", b"a record")
    assert said == [{"qos": 1, "retain": False}]
    assert link._client._clean_session is False


def test_each_connection_has_a_will_of_its_own(link: MqttLink) -> None:
    wills = [link._client._will_payload]
    for _ in range(2):
        link._is_accepted = True
        link._on_disconnect(link._client, None, DisconnectFlags(False), ReasonCode(PacketTypes.DISCONNECT), None)
        wills.append(link._client._will_payload)
    assert len(set(wills)) == 3


def test_a_small_packet_waits_for_no_other(link: MqttLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link._client.connect(*server.getsockname())
        connected = link._client.socket()
        assert isinstance(connected, socket.socket)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connected.close()
