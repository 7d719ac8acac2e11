"""HMAC-SHA-256 truncated to 128 bits, with the key's pads prepared once.

Stock MicroPython has no `hmac` module, and building the pads anew for every record would cost more than the hashing.
"""

from hashlib import sha256

MAC_BYTES = 16
RECEIPT_WORD = b"hcp receipt 1\x00"


class Signer:
    """Signs records and checks receipts with the device key (32 bytes)."""

    def __init__(self, key: bytes, device: bytes) -> None:
        block = key + bytes(64 - len(key))
        self._inner = bytes([byte ^ 0x36 for byte in block])
        self._outer = bytes([byte ^ 0x5C for byte in block])
        self._receipt_head = RECEIPT_WORD + device + bytes(16 - len(device))

    def mac(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the 16-byte MAC of a buffer."""
        inner = sha256(self._inner)
        inner.update(data)
        outer = sha256(self._outer)
        outer.update(inner.digest())
        return bytes(outer.digest()[:MAC_BYTES])

    def receipt_is_genuine(self, unsigned: memoryview, mac: bytes) -> bool:
        """Tell whether `mac` signs a receipt payload (without its MAC) for this device."""
        expected = self.mac(self._receipt_head + bytes(unsigned))
        different = 0
        for n in range(MAC_BYTES):
            different |= expected[n] ^ mac[n]
        return different == 0
