"""What can be wrong with bytes from outside.

Every error names a `reason` from a closed set, so that a caller can count by reason without reading text.
"""

from __future__ import annotations


class ProtocolError(ValueError):
    """Bytes or values that are not of the protocol; `reason` is a short stable word for counters."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class FrameError(ProtocolError):
    """A frame that cannot be taken apart: `encoding`, `crc`, `short` or `oversized`."""


class MessageError(ProtocolError):
    """A whole frame whose message is not valid: `type`, `length` or `value`."""


class RecordError(ProtocolError):
    """128 bytes that are not a record: `length`, `crc`, `format`, `algorithm`, `value`, `mac` or `device`."""


class PayloadError(ProtocolError):
    """An MQTT topic or JSON payload that is not of the contract: `topic`, `json` or `value`."""
