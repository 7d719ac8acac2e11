"""Why there is no connection to the broker, in the words that a person gets: the cause, and the one thing to look at."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from host_agent.config import load
from host_agent.config_file import Answers, write
from host_agent.doctor import Grade, check
from host_agent.uplink import mqtt
from host_agent.uplink.mqtt import Broker as Address
from host_agent.uplink.reach import why_not
from tests.brokers import HOST, Broker, free_port
from tests.chains import WINDOW
from tests.e2e.test_agent_troubles import link_to, mosquitto
from tests.secured import secured

pytestmark = pytest.mark.e2e
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@contextmanager
def tls_server(leaf: trustme.LeafCert) -> Iterator[int]:
    """Serve TLS handshakes with a certificate; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connected, _ = server.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(connected, server_side=True) as wrapped:
                        wrapped.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize(
    ("names", "begins", "ends", "trusted", "said"),
    [
        ((HOST,), NOW - DAY, NOW + DAY, True, None),
        ((HOST,), NOW - DAY, NOW + DAY, False, "certificate is not trusted: name the CA that issued it in mqtt.ca_file"),
        (
            ("broker.example",),
            NOW - DAY,
            NOW + DAY,
            True,
            "is for another name: put the name in the certificate into mqtt.host",
        ),
        ((HOST,), NOW - 3 * DAY, NOW - DAY, True, "has expired: renew it, or check this PC's clock"),
        ((HOST,), NOW + DAY, NOW + 3 * DAY, True, "not valid yet: check this PC's clock"),
    ],
)
def test_what_is_wrong_with_a_certificate(
    names: tuple[str, ...], begins: datetime, ends: datetime, trusted: bool, said: str | None
) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert(*names, not_before=begins, not_after=ends)
    with tls_server(leaf) as port:
        why = why_not(Address(HOST, port, tls=trusting(authority if trusted else trustme.CA())))
    assert (said in why) if said and why else why == said


def test_a_name_that_is_not_known_a_port_where_nobody_is_and_one_where_nobody_answers() -> None:
    assert "check mqtt.host and this PC's DNS" in (why_not(Address("no-such-broker.invalid", 1883)) or "")
    assert "is the broker running, and is mqtt.port right?" in (why_not(Address(HOST, free_port())) or "")
    with socket.create_server((HOST, 0)) as silent:
        address = Address(HOST, silent.getsockname()[1], tls=ssl.create_default_context())
        assert "does that port speak TLS" in (why_not(address, step_s=0.2) or "")


# paho leaves the socket of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_without_tls_where_it_is_expected(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, link_to(broker, tls=ssl.create_default_context()) as (_, heard):
        assert "does that port speak TLS" in heard.next("disconnected")


def test_a_port_that_expects_tls_and_does_not_get_it(tmp_path: Path) -> None:
    with secured("mosquitto", tmp_path) as site, link_to(site.broker) as (_, heard):
        assert "Set mqtt.tls or mqtt.ca_file" in heard.next("disconnected")


def test_a_broker_that_wants_a_client_certificate_and_gets_none(tmp_path: Path) -> None:
    with secured("mosquitto", tmp_path, certificates=True) as site:
        context = ssl.create_default_context(cafile=site.authority.ca)
        with link_to(site.broker, tls=context) as (_, heard):
            assert "mqtt.cert_file" in heard.next("disconnected")


def test_the_cause_is_looked_for_once_in_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str | None] = []

    def counted(broker: Address) -> str | None:
        looked.append(why_not(broker))
        return looked[-1]

    monkeypatch.setattr(mqtt, "why_not", counted)
    nobody = Broker("nobody", [], free_port(), tmp_path / "none.log")
    with link_to(nobody) as (_, heard):
        assert [heard.next("disconnected") for _ in range(3)] == 3 * looked
        assert len(looked) == 1


@pytest.mark.parametrize("name", ["mosquitto", "nats"])
def test_a_login_is_checked_with_the_right_and_with_a_wrong_password(tmp_path: Path, name: str) -> None:
    with secured(name, tmp_path / "broker") as site:
        said = {}
        for folder, password in ((tmp_path / "good", site.password(WINDOW.path)), (tmp_path / "bad", "not-this")):
            answers = Answers(
                WINDOW, HOST, site.broker.port, ca_file=str(site.authority.ca), username=WINDOW.path, password=password
            )
            write(folder / "agent.toml", answers)
            said[folder.name] = {finding.what.split()[-1]: finding for finding in check(load(folder / "agent.toml"))}
    good, bad = said.values()
    assert (good["broker"].grade, good["rights"].grade) == (Grade.OK, Grade.OK)
    assert (bad["broker"].grade, bad["rights"].grade) == (Grade.OK, Grade.FAIL)
    assert "mqtt.password_file" in bad["rights"].text
    assert "not-this" not in str(bad)


def test_a_right_that_is_missing_is_found(tmp_path: Path) -> None:
    with secured("nats", tmp_path / "broker") as site:
        config = site.broker.log.parent / "nats.conf"
        config.write_text(config.read_text(encoding="utf-8").replace("dating.07.down.*", "dating.07.other"), encoding="utf-8")
        site.broker.restart()
        file = tmp_path / "agent.toml"
        write(
            file,
            Answers(WINDOW, HOST, site.broker.port, False, str(site.authority.ca), WINDOW.path, site.password(WINDOW.path)),
        )
        found = {finding.what.split()[-1]: finding for finding in check(load(file))}
    assert found["rights"].grade is Grade.FAIL
    assert "grant it in the access list" in found["rights"].text
