"""A client of the broker with the login and the TLS of a configuration; what it does is for whoever makes it."""

from __future__ import annotations

import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from collector.config import MqttConfig
from collector.errors import ConfigError


def new_client(login: MqttConfig, client_id: str, *, keeps_session: bool) -> paho.Client:
    """Return a client; one whose session outlives its connections acknowledges by hand. ConfigError for files that cannot be used."""
    five = login.protocol == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if five else not keeps_session,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        manual_ack=keeps_session,
    )
    if login.username:
        client.username_pw_set(login.username, login.read_password())
    if login.uses_tls:
        try:
            client.tls_set(
                ca_certs=str(login.ca_file) if login.ca_file else None,
                certfile=str(login.cert_file) if login.cert_file else None,
                keyfile=str(login.key_file) if login.key_file else None,
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"证书无法使用，请检查配置中的文件 cannot use the certificates: check the files under [mqtt] and [ask]: {error}"
            ) from error
    return client
