"""Genuine records by the hundred thousand: one journal, signed and chained as a device does it, without a device.

A first record is made by the contract; those that follow differ from it in a few bytes, which are set in place.
"""

from __future__ import annotations

import dataclasses
import hmac
import zlib

from protocol.payloads import RecordEvent
from protocol.record import FORMAT, SIGNED_BYTES, Algorithm, Kind, Record, RecordFlag, TimeQuality, parse_record
from protocol.signing import ZERO_MAC, derive_device_key, sign_record
from protocol.topics import Up, Window

HALL_KEY = bytes(range(32))
AREA, HALL_NAME = "533103", "bench"
HALL = f"{AREA}/{HALL_NAME}"
EPOCH_MS = 1_780_000_000_000


def _offsets() -> dict[str, int]:
    at, found = 0, {}
    for field in dataclasses.fields(Record):
        found[field.name] = at
        at += field.metadata["subcon"].sizeof()
    return found


_AT = _offsets()


class PaperDevice:
    """Writes records for the device `name` at a window."""

    def __init__(self, name: str, window: str) -> None:
        self.name = name
        self.window = Window(AREA, HALL_NAME, window)
        self.topic = self.window.up(Up.RECORD)
        self.next_seq = 1
        self._key = derive_device_key(HALL_KEY, name)
        self._prev_mac = ZERO_MAC
        self._model = bytearray(_first(self._key).pack())

    def write(self, count: int) -> list[bytes]:
        """Return the next `count` records, 128 bytes each: ratings of all levels."""
        return [self._write() for _ in range(count)]

    def _write(self) -> bytes:
        raw, seq = self._model, self.next_seq
        raw[_AT["level"]] = 1 + seq % 5
        raw[_AT["flags"]] = RecordFlag.NEW_JOURNAL if seq == 1 else 0
        for name, size, value in (("seq", 4, seq), ("uptime_ms", 8, 1000 * seq), ("utc_ms", 8, EPOCH_MS + 1000 * seq)):
            raw[_AT[name] : _AT[name] + size] = value.to_bytes(size, "little")
        raw[_AT["prev_mac"] : _AT["prev_mac"] + 16] = self._prev_mac
        self._prev_mac = hmac.digest(self._key, bytes(raw[:SIGNED_BYTES]), "sha256")[:16]
        raw[SIGNED_BYTES : SIGNED_BYTES + 16] = self._prev_mac
        raw[-4:] = zlib.crc32(raw[:-4]).to_bytes(4, "little")
        self.next_seq += 1
        return bytes(raw)

    def payload(self, raw: bytes) -> bytes:
        """Return the message in which an agent publishes a record."""
        return RecordEvent.of(self.window.path, self.name, parse_record(raw), raw, EPOCH_MS, None, historical=False).to_json()


def _first(key: bytes) -> Record:
    return sign_record(
        key,
        Record(
            format=FORMAT,
            algorithm=Algorithm.HMAC_SHA256_128,
            kind=Kind.RATING,
            level=5,
            seq=1,
            boot=1,
            uptime_ms=1000,
            utc_ms=EPOCH_MS,
            uncertainty_ms=5,
            quality=TimeQuality.SYNCHRONISED,
            flags=RecordFlag.NEW_JOURNAL,
            detail=0,
            refers_to=0,
            value=0,
            evaluation=bytes(16),
            context_digest=bytes(16),
            staff="017",
            prev_mac=ZERO_MAC,
            mac=ZERO_MAC,
            crc=0,
        ),
    )
