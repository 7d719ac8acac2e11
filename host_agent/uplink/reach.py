"""Why a broker cannot be reached, found step by step: its name, the way to it, TLS.

The MQTT client only knows that it did not work; a person has to know which of name, firewall, port and certificate to look at.
Blocks for as long as each step may take, so it belongs into a thread that has time. Called by `mqtt` after a failed connection.
"""

from __future__ import annotations

import socket
import ssl
from typing import Protocol

STEP_S = 5.0
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR numbers: host name mismatch, address mismatch."""


class Address(Protocol):
    """What has to be known of a broker."""

    @property
    def host(self) -> str:
        """Name or address."""

    @property
    def port(self) -> int:
        """TCP port."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How TLS is spoken; None without."""


def why_not(broker: Address, step_s: float = STEP_S) -> str | None:
    """Return what is in the way and what to do about it; None when nothing was found, for it may have passed."""
    place = f"{broker.host}:{broker.port}"
    try:
        connected = socket.create_connection((broker.host, broker.port), step_s)
    except socket.gaierror:
        return (
            f"消息服务器的名称 {broker.host} 无法解析，请检查 mqtt.host 和本机 DNS "
            "the broker's name is not known here: check mqtt.host and this PC's DNS"
        )
    except ConnectionRefusedError:
        return (
            f"{place} 拒绝连接：请检查消息服务器是否运行、mqtt.port 是否正确 "
            "refuses the connection: is the broker running, and is mqtt.port right?"
        )
    except TimeoutError:
        return f"{place} 无应答，请检查网络和防火墙 does not answer: check network and firewall"
    except OSError as error:
        return f"无法连接 {place}，请检查网络 there is no way to it, check the network: {error}"
    with connected:
        if broker.tls is None:
            return None
        try:
            with broker.tls.wrap_socket(connected, server_hostname=broker.host):
                return None
        except ssl.SSLCertVerificationError as error:
            return _about_certificate(place, broker.host, error)
        except ssl.SSLError as error:
            return (
                f"{place} 的 TLS 握手失败：该端口是否为 TLS 端口？ TLS fails: does that port speak TLS, "
                f"and does it want a client certificate (mqtt.cert_file)? {error.reason or error}"
            )
        except OSError as error:
            return (
                f"{place} 在 TLS 握手时断开：该端口是否为 TLS 端口？ ends the connection when TLS begins: does that port speak TLS? "
                f"{error}"
            )


def _about_certificate(place: str, host: str, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return f"{place} 的证书已过期，请更换证书或检查本机时钟 its certificate has expired: renew it, or check this PC's clock"
    if error.verify_code == _NOT_YET_VALID:
        return f"{place} 的证书尚未生效，请检查本机时钟 its certificate is not valid yet: check this PC's clock"
    if error.verify_code in _OTHER_NAME:
        return (
            f"{place} 的证书不是发给 {host} 的，请在 mqtt.host 填写证书上的名称 "
            "its certificate is for another name: put the name in the certificate into mqtt.host"
        )
    return (
        f"{place} 的证书不受信任，请在 mqtt.ca_file 填写签发它的 CA 证书 "
        f"its certificate is not trusted: name the CA that issued it in mqtt.ca_file ({error.verify_message})"
    )
