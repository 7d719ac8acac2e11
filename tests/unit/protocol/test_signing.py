"""Keys, receipts and digests, checked against HMAC and SHA-256 written out by hand."""

import hashlib
import hmac
from dataclasses import replace

import pytest

from protocol.signing import context_digest, derive_device_key, receipt_is_genuine, sign_receipt

HALL_KEY = bytes(range(32))
KEY = derive_device_key(HALL_KEY, "PJQ-0001")


def test_a_device_key_is_as_the_page_says() -> None:
    message = b"hcp device key 1\x00" + b"PJQ-0001" + bytes(8)
    assert hmac.new(HALL_KEY, message, hashlib.sha256).digest() == KEY
    assert derive_device_key(HALL_KEY, "PJQ-0002") != KEY


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_hall_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"this one has {size}"):
        derive_device_key(bytes(size), "PJQ-0001")


def test_a_receipt_is_as_the_page_says() -> None:
    receipt = sign_receipt(KEY, "PJQ-0001", 6, b"m" * 16, 1000)
    message = b"hcp receipt 1\x00" + b"PJQ-0001" + bytes(8) + b"\x06\0\0\0" + b"m" * 16 + (1000).to_bytes(8, "little")
    assert receipt.mac == hmac.new(KEY, message, hashlib.sha256).digest()[:16]


def test_a_receipt_is_genuine_for_one_device_and_one_key_only() -> None:
    receipt = sign_receipt(KEY, "PJQ-0001", 6, b"m" * 16, 1000)
    assert receipt_is_genuine(KEY, "PJQ-0001", receipt)
    assert not receipt_is_genuine(KEY, "PJQ-0002", receipt)
    assert not receipt_is_genuine(HALL_KEY, "PJQ-0001", receipt)
    assert not receipt_is_genuine(KEY, "PJQ-0001", replace(receipt, next_seq=7))
    assert not receipt_is_genuine(KEY, "PJQ-0001", replace(receipt, record_mac=b"n" * 16))
    assert not receipt_is_genuine(KEY, "PJQ-0001", replace(receipt, issued_ms=1001))


def test_a_context_digest_is_as_the_page_says() -> None:
    text = '{"case_no":"42","item_name":"身份证"}'.encode()
    wanted = hashlib.sha256(b"hcp case 1\x00" + b"e" * 16 + text).digest()[:16]
    assert context_digest(b"e" * 16, {"item_name": "身份证", "case_no": "42"}) == wanted
    assert context_digest(b"f" * 16, {"item_name": "身份证", "case_no": "42"}) != wanted
