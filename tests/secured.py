"""Brokers from the examples in docs/mqtt, as an IT department would run them: paths, port and passwords put in, nothing else changed.

with secured("mosquitto", folder) as site:
    site.broker.port, site.authority.ca(), site.password("533103/dating/07")
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.brokers import HOST, Broker, free_port, mosquitto_program, nats_program, user_line

EXAMPLES = Path(__file__).parents[1] / "docs" / "mqtt"
USERS = ("collector", "asker", "533103/dating/07", "533103/dating/08")


@dataclass
class Authority:
    """A private CA and what it issues, as files."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA()
        self.ca = self.folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def broker(self) -> tuple[Path, Path]:
        """Return certificate and key of a broker on this machine."""
        return self._issued("broker", self._authority.issue_cert(HOST, "localhost"))

    def window(self, path: str) -> tuple[Path, Path]:
        """Return certificate and key of a window, whose common name is its path."""
        return self._issued(path.replace("/", "-"), self._authority.issue_cert(f"{path}@hall.example", common_name=path))

    def _issued(self, name: str, leaf: trustme.LeafCert) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
        return certificate, key


@dataclass
class Site:
    """A broker that runs, and what its users need."""

    broker: Broker
    authority: Authority

    def password(self, user: str) -> str:
        """Return a user's password."""
        return f"secret-{user.rpartition('/')[2]}"


@contextmanager
def secured(name: str, folder: Path, *, certificates: bool = False) -> Iterator[Site]:
    """Run the example of `mosquitto` or `nats`; with `certificates` as its comment says, Mosquitto only."""
    if (mosquitto_program() if name == "mosquitto" else nats_program()) is None:
        pytest.skip(f"{name} is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(Broker(name, [], free_port(), folder / "broker.log"), Authority(folder / "certs"))
    (_mosquitto if name == "mosquitto" else _nats)(site, folder, certificates=certificates)
    site.broker.start()
    try:
        yield site
    finally:
        site.broker.stop()


def _mosquitto(site: Site, folder: Path, *, certificates: bool) -> None:
    site.authority.broker()
    passwords = folder / "passwords"
    passwords.touch(0o600)
    for user in USERS:
        command = [shutil.which("mosquitto_passwd") or "mosquitto_passwd", "-b", str(passwords), user, site.password(user)]
        subprocess.run(command, check=True, capture_output=True, timeout=10)
    rights = folder / "haochaping.acl"
    shutil.copy(EXAMPLES / "haochaping.acl", rights)
    os.chmod(rights, 0o600)
    text = (EXAMPLES / "mosquitto.conf").read_text(encoding="utf-8")
    changes = {
        "listener 8883": f"listener {site.broker.port} {HOST}",
        "/etc/mosquitto/certs/": f"{site.authority.folder.as_posix()}/",
        "/etc/mosquitto/": f"{folder.as_posix()}/",
        "/var/lib/mosquitto/": f"{folder.as_posix()}/",
    }
    if certificates:
        changes |= {"password_file ": "#password_file ", "#require": "require", "#use_identity": "use_identity"}
    config = folder / "mosquitto.conf"
    config.write_text(_changed(text, changes) + user_line(), encoding="utf-8")
    site.broker.command = [str(mosquitto_program()), "-c", str(config)]


def _nats(site: Site, folder: Path, *, certificates: bool) -> None:
    assert not certificates, "the example for NATS has passwords only"
    site.authority.broker()
    text = (EXAMPLES / "nats.conf").read_text(encoding="utf-8")
    changes = {
        "127.0.0.1:4222": f"{HOST}:{free_port()}",
        "0.0.0.0:8883": f"{HOST}:{site.broker.port}",
        "/etc/nats/": f"{site.authority.folder.as_posix()}/",
        "/var/lib/nats": (folder / "jetstream").as_posix(),
    }
    changes |= {f"REPLACE-{user.rpartition('/')[2]}": site.password(user) for user in USERS}
    config = folder / "nats.conf"
    config.write_text(_changed(text, changes), encoding="utf-8")
    site.broker.command = [str(nats_program()), "-c", str(config)]


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old!r} any more"
        text = text.replace(old, new)
    return text
