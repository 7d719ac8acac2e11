"""The broker configurations in docs/mqtt: a window reaches its own topics through TLS and nobody else's, whatever it tries."""

from __future__ import annotations

import queue
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from protocol.topics import Down, Up, Window
from tests.chains import WINDOW
from tests.hall import Hall, eventually
from tests.secured import Site, secured

pytestmark = pytest.mark.e2e
OTHER = Window(WINDOW.area, WINDOW.hall, "08")
BROKERS = ("mosquitto", "nats")
QUIET_S = 0.5


class Client:
    """An MQTT client with a user's right password, and what it hears."""

    def __init__(
        self, site: Site, user: str, will: str | None = None, *, lasting: bool = False, client_id: str | None = None
    ) -> None:
        self.heard: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._connected: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._subscribed: queue.SimpleQueue[list[bool]] = queue.SimpleQueue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or f"test-{user.replace('/', '-')}", clean_session=not lasting
        )
        self.client.username_pw_set(user, site.password(user))
        self.client.tls_set(ca_certs=str(site.authority.ca), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if will is not None:
            self.client.will_set(will, b"will", qos=1, retain=True)
        self.client.on_connect = lambda _client, _data, _flags, reason, _more: self._connected.put(not reason.is_failure)
        self.client.on_subscribe = lambda _client, _data, _mid, reasons, _more: self._subscribed.put(
            [not reason.is_failure for reason in reasons]
        )
        self.client.on_message = lambda _client, _data, message: self.heard.put((message.topic, bytes(message.payload)))
        self.client.connect(site.broker.host, site.broker.port)
        self.client.loop_start()
        assert self._connected.get(timeout=10)

    def subscribe(self, topic: str) -> bool:
        """Ask for a topic; tell whether the broker says yes."""
        self.client.subscribe(topic, qos=1)
        return self._subscribed.get(timeout=10) == [True]

    def publish(self, topic: str, payload: bytes, **more: Any) -> None:
        """Publish and wait for what the broker does about it: an acknowledgement, or the end of the connection."""
        message = self.client.publish(topic, payload, qos=1, **more)
        deadline = time.monotonic() + 5
        while not message.is_published() and self.client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.01)

    def next(self) -> tuple[str, bytes]:
        """Return what comes next."""
        return self.heard.get(timeout=10)

    def close(self, *, politely: bool = True) -> None:
        """End the connection; without goodbye the broker sends the will."""
        if not politely:
            opened = self.client.socket()
            assert opened is not None
            opened.close()
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(params=BROKERS, scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with secured(request.param, tmp_path_factory.mktemp("broker")) as made:
        yield made


@contextmanager
def users(site: Site, *names: str) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        made = [Client(site, name) for name in names]
        for client in made:
            stack.callback(client.close)
        yield made


def test_what_belongs_to_a_window_works(site: Site) -> None:
    with users(site, "collector", WINDOW.path) as (collector, agent):
        for up in Up:
            assert collector.subscribe(f"hcp/v1/+/+/+/up/{up.value}")
        assert agent.subscribe(WINDOW.down(Down.RECEIPT))
        for up in Up:
            agent.publish(WINDOW.up(up), b"mine")
            assert collector.next() == (WINDOW.up(up), b"mine")
        collector.publish(WINDOW.down(Down.RECEIPT), b"receipt")
        assert agent.next() == (WINDOW.down(Down.RECEIPT), b"receipt")


def test_a_window_publishes_nothing_for_another_and_no_receipt(site: Site) -> None:
    with users(site, "collector", OTHER.path) as (collector, other):
        assert collector.subscribe("hcp/v1/+/+/+/up/record")
        assert collector.subscribe("hcp/v1/+/+/+/up/state")
        assert other.subscribe(OTHER.down(Down.RECEIPT))
        assert other.subscribe(OTHER.down(Down.REQUEST))
        attempts = [OTHER.up(up) for up in Up] + [OTHER.down(Down.RECEIPT), WINDOW.down(Down.RECEIPT), "hcp/v1/x", "$SYS/x"]
        attempts.append(OTHER.down(Down.REQUEST))
        for topic in attempts:
            with users(site, WINDOW.path) as (attacker,):
                attacker.publish(topic, b"crossed", retain=topic.endswith("state"))
        with users(site, WINDOW.path) as (again,):
            again.publish(WINDOW.up(Up.RECORD), b"last")
        assert collector.next() == (WINDOW.up(Up.RECORD), b"last"), "and nothing before it"
        collector.publish(OTHER.down(Down.RECEIPT), b"last")
        assert other.next() == (OTHER.down(Down.RECEIPT), b"last"), "and nothing before it"


def test_a_will_for_another_window_is_not_delivered(site: Site) -> None:
    with users(site, "collector") as (collector,):
        assert collector.subscribe("hcp/v1/+/+/+/up/state")
        try:
            attacker = Client(site, WINDOW.path, will=OTHER.up(Up.STATE))
        except AssertionError:
            return  # refused with such a will
        attacker.close(politely=False)
        with pytest.raises(queue.Empty):
            collector.heard.get(timeout=3 * QUIET_S)


@pytest.mark.parametrize(
    "topic", ["#", "+/#", "hcp/v1/#", OTHER.down(Down.RECEIPT), "hcp/v1/+/+/+/down/receipt", "$MQTT/sub/#"]
)
def test_a_window_hears_nothing_that_is_for_another(site: Site, topic: str) -> None:
    with users(site, "collector", WINDOW.path) as (collector, agent):
        agent.subscribe(topic)  # some brokers say yes and deliver nothing, others end the connection
        with users(site, OTHER.path) as (other,):
            other.publish(OTHER.up(Up.RECORD), b"of the other")
        collector.publish(OTHER.down(Down.RECEIPT), b"for the other")
        if agent.client.is_connected():
            assert agent.subscribe(WINDOW.down(Down.RECEIPT))
            collector.publish(WINDOW.down(Down.RECEIPT), b"mine")
            assert agent.next() == (WINDOW.down(Down.RECEIPT), b"mine"), "and nothing before it"
        assert agent.heard.empty()


def test_the_collector_cannot_speak_as_a_window(site: Site) -> None:
    collector = Client(site, "collector", lasting=True)  # Mosquitto ends a connection that publishes what it may not
    assert collector.subscribe("hcp/v1/+/+/+/up/record")
    collector.publish(WINDOW.up(Up.RECORD), b"invented")
    with users(site, WINDOW.path) as (agent,):
        agent.publish(WINDOW.up(Up.RECORD), b"genuine")
        assert collector.next() == (WINDOW.up(Up.RECORD), b"genuine"), "and nothing before it"
    collector.close()


def test_who_takes_another_windows_client_id_hears_nothing_of_it(site: Site) -> None:
    mine = Client(site, WINDOW.path, lasting=True, client_id="same")
    assert mine.subscribe(WINDOW.down(Down.RECEIPT))
    mine.close()
    thief = Client(site, OTHER.path, lasting=True, client_id="same")
    with users(site, "collector") as (collector,):
        collector.publish(WINDOW.down(Down.RECEIPT), b"for window 07")
        if thief.client.is_connected():
            assert thief.subscribe(OTHER.down(Down.RECEIPT))
            collector.publish(OTHER.down(Down.RECEIPT), b"for window 08")
            assert thief.next() == (OTHER.down(Down.RECEIPT), b"for window 08"), "and nothing before it"
    thief.close()
    mine = Client(site, WINDOW.path, lasting=True, client_id="same")
    mine.subscribe(WINDOW.down(Down.RECEIPT))
    with users(site, "collector") as (collector,):
        collector.publish(WINDOW.down(Down.RECEIPT), b"the next")
    heard = mine.next()[1]
    assert (mine.next()[1] if heard == b"for window 07" else heard) == b"the next"
    mine.close()


@pytest.mark.parametrize("name", BROKERS)
def test_a_rating_goes_all_the_way_through_tls_and_rights(tmp_path: Path, name: str) -> None:
    with secured(name, tmp_path / "broker") as site, hall(tmp_path, site) as running:
        running.start()
        running.device.press(1)
        running.await_collected(1)
        eventually("it has its receipt", lambda: running.status()["outbox_sent"] == 0)
        log = running.agent.log.read_text() + running.collector.log.read_text()
        assert site.password(WINDOW.path) not in log
        assert site.password("collector") not in log


def test_client_certificates_do_instead_of_passwords(tmp_path: Path) -> None:
    with secured("mosquitto", tmp_path / "broker", certificates=True) as site:
        pairs = {"agent": site.authority.window(WINDOW.path), "collector": site.authority.window("collector")}
        more = {
            room: f'ca_file = "{site.authority.ca}"\ncert_file = "{certificate}"\nkey_file = "{key}"\n'
            for room, (certificate, key) in pairs.items()
        }
        with Hall(tmp_path, site.broker, mqtt_more=more) as running:
            running.start()
            running.device.press(1)
            running.await_collected(1)


def hall(folder: Path, site: Site) -> Hall:
    more = {}
    for room, user in (("agent", WINDOW.path), ("collector", "collector")):
        file = folder / f"{room}.password"
        file.write_text(site.password(user))
        more[room] = f'ca_file = "{site.authority.ca}"\nusername = "{user}"\npassword_file = "{file}"\n'
    return Hall(folder, site.broker, mqtt_more=more)
