"""Signatures: device keys and remote keys, record MACs, the chain, receipts and the digest of a case.

All are HMAC-SHA-256 truncated to 128 bits. The first bytes of what is signed differ by purpose (a record begins with its
format byte, a receipt and a key derivation with a word), so that no signature can stand in for another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from protocol.errors import RecordError
from protocol.messages import Receipt
from protocol.record import MAC_BYTES, SIGNED_BYTES, Algorithm, Record
from protocol.topics import Window

KEY_BYTES: Final = 32
ZERO_MAC: Final = bytes(MAC_BYTES)


def derive_device_key(hall_key: bytes, device: str) -> bytes:
    """Return the 32-byte key of one device from its hall's key; the collector keeps only the latter."""
    if len(hall_key) != KEY_BYTES:
        raise ValueError(f"a hall key has {KEY_BYTES} bytes, this one has {len(hall_key)}")
    return hmac.new(hall_key, b"hcp device key 1\x00" + _device_bytes(device), hashlib.sha256).digest()


def derive_remote_key(hall_key: bytes, window: Window) -> bytes:
    """Return the 32-byte key under which one window's agent is asked and answers; it opens nothing else."""
    if len(hall_key) != KEY_BYTES:
        raise ValueError(f"a hall key has {KEY_BYTES} bytes, this one has {len(hall_key)}")
    return hmac.new(hall_key, b"hcp remote key 1\x00" + window.path.encode("ascii"), hashlib.sha256).digest()


def sign_words(key: bytes, words: bytes) -> bytes:
    """Return the 16-byte MAC of bytes that begin with the word for their purpose."""
    return _mac(key, words)


def sign_record(key: bytes, record: Record) -> Record:
    """Return the record with `mac` and `crc` filled in; whatever stood there is ignored."""
    mac = _mac(key, record.signed)
    crc = zlib.crc32(record.signed + mac)
    return replace(record, mac=mac, crc=crc)


def verify_record(key: bytes, record: Record, raw: bytes) -> None:
    """Check the MAC of a parsed record against its bytes; RecordError("algorithm" | "mac")."""
    if record.algorithm is not Algorithm.HMAC_SHA256_128:
        raise RecordError("algorithm", f"signature algorithm {record.algorithm.name} is not supported here")
    if not hmac.compare_digest(_mac(key, raw[:SIGNED_BYTES]), record.mac):
        raise RecordError("mac", f"record {record.seq} is not signed with this device's key")


def sign_receipt(key: bytes, device: str, next_seq: int, record_mac: bytes, issued_ms: int) -> Receipt:
    """Return the collector's receipt for every record before `next_seq`."""
    unsigned = Receipt(next_seq=next_seq, record_mac=record_mac, issued_ms=issued_ms, mac=ZERO_MAC)
    return replace(unsigned, mac=_mac(key, _receipt_bytes(device, unsigned)))


def receipt_is_genuine(key: bytes, device: str, receipt: Receipt) -> bool:
    """True when the receipt was signed for this device with its key."""
    return hmac.compare_digest(_mac(key, _receipt_bytes(device, receipt)), receipt.mac)


NO_DIGEST = bytes(16)
"""In place of a case's digest where there is no case, as in a record of a press that nobody asked for."""


def context_digest(evaluation: bytes, case: Mapping[str, str]) -> bytes:
    """Return the 16-byte digest that binds a case to a record.

    SHA-256 over a word, the evaluation id and the case as JSON with sorted keys, no spaces and UTF-8 unescaped.
    """
    text = json.dumps(dict(case), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"hcp case 1\x00" + evaluation + text.encode("utf-8")).digest()[:16]


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:MAC_BYTES]


def _receipt_bytes(device: str, receipt: Receipt) -> bytes:
    return b"hcp receipt 1\x00" + _device_bytes(device) + receipt.pack()[:-MAC_BYTES]


def _device_bytes(device: str) -> bytes:
    return device.encode("ascii").ljust(16, b"\x00")
