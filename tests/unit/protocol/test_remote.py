"""Remote requests: keys and signatures written out by hand, and nothing of a request or an answer that may be changed."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import PayloadError
from protocol.generate import signed_vectors
from protocol.payloads import RemoteAnswer, RemoteRequest
from protocol.remote import (
    MOST_BODY_CHARACTERS,
    answer_is_genuine,
    make_answer,
    make_request,
    request_bytes,
    request_is_genuine,
)
from protocol.signing import derive_device_key, derive_remote_key
from protocol.topics import Window

HALL_KEY = bytes(range(32))
WINDOW = Window("533103", "dating", "07")
KEY = derive_remote_key(HALL_KEY, WINDOW)
SESSION, REQUEST_ID = "a" * 32, "b" * 32
REQUEST = make_request(KEY, WINDOW, SESSION, REQUEST_ID, "log", '{"lines":5}')
ANSWER = make_answer(KEY, WINDOW, SESSION, REQUEST_ID, "ok", '{"lines":["门"]}')


def padded(text: str, size: int) -> bytes:
    return text.encode().ljust(size, b"\x00")


def mac_by_hand(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).digest()[:16].hex()


def test_key_request_and_answer_are_as_the_page_says() -> None:
    assert hmac.new(HALL_KEY, b"hcp remote key 1\x00533103/dating/07", hashlib.sha256).digest() == KEY
    place, ids = padded(WINDOW.path, 72), bytes.fromhex(SESSION + REQUEST_ID)
    said = b"hcp request 1\x00\x01" + place + ids + padded("log", 24) + b'{"lines":5}'
    assert mac_by_hand(KEY, said) == REQUEST.mac
    said = b"hcp answer 1\x00\x01" + place + ids + padded("ok", 24) + '{"lines":["门"]}'.encode()
    assert mac_by_hand(KEY, said) == ANSWER.mac


def test_a_remote_key_is_of_one_window_and_no_device_key() -> None:
    names = ("07", "7", "070", "PJ-0001")
    keys = {derive_remote_key(HALL_KEY, Window("533103", "dating", name)) for name in names}
    keys |= {derive_device_key(HALL_KEY, name) for name in names} | {HALL_KEY}
    assert len(keys) == 2 * len(names) + 1
    with pytest.raises(ValueError, match="this one has 16"):
        derive_remote_key(bytes(16), WINDOW)


@pytest.mark.parametrize("group", ["remote_requests", "remote_answers"])
def test_the_golden_vectors_are_signed_as_they_say(group: str) -> None:
    vectors: dict[str, Any] = signed_vectors.sections()
    key = bytes.fromhex(vectors["remote_keys"][0]["remote_key"])
    word = b"hcp request 1\x00" if group == "remote_requests" else b"hcp answer 1\x00"
    assert {vector["genuine"] for vector in vectors[group]} == {True, False}
    for vector in vectors[group]:
        words = bytes.fromhex(vector["words"])
        assert words.startswith(word)
        good = mac_by_hand(key, words) == json.loads(vector["payload"])["mac"]
        assert good == vector["genuine"], vector["name"]


@given(
    st.sampled_from(["session", "id", "kind", "arguments", "mac"]),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text(max_size=40),
    st.text("abcdefgh_", min_size=1, max_size=24),
)
def test_no_word_of_a_request_can_be_changed(field: str, hexed: str, text: str, word: str) -> None:
    value = {"kind": word, "arguments": text}.get(field, hexed)
    changed = REQUEST.model_copy(update={field: value})
    assert request_is_genuine(KEY, WINDOW, changed) == (changed == REQUEST)


@given(
    st.sampled_from(["session", "request", "word", "body", "mac"]),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text(max_size=40),
    st.text("abcdefgh_", min_size=1, max_size=24),
)
def test_no_word_of_an_answer_can_be_changed(field: str, hexed: str, text: str, word: str) -> None:
    value = {"word": word, "body": text}.get(field, hexed)
    changed = ANSWER.model_copy(update={field: value})
    assert answer_is_genuine(KEY, WINDOW, changed) == (changed == ANSWER)


@given(st.text(max_size=30), st.text(max_size=30), st.text("abc_", min_size=1), st.text("abc_", min_size=1))
def test_two_requests_never_have_the_same_bytes(one: str, other: str, kind: str, other_kind: str) -> None:
    words = {
        request_bytes(WINDOW, make_request(KEY, WINDOW, SESSION, REQUEST_ID, name[:24], text))
        for name, text in ((kind, one), (other_kind, other))
    }
    assert len(words) == len({(kind[:24], one), (other_kind[:24], other)})


def test_neither_another_window_nor_another_key_nor_the_other_direction_fits() -> None:
    other = Window("533103", "dating", "08")
    assert not request_is_genuine(KEY, other, REQUEST)
    assert not request_is_genuine(derive_remote_key(HALL_KEY, other), WINDOW, REQUEST)
    assert not request_is_genuine(HALL_KEY, WINDOW, REQUEST)
    mirrored = make_answer(KEY, WINDOW, SESSION, REQUEST_ID, "log", '{"lines":5}').mac
    assert not request_is_genuine(KEY, WINDOW, REQUEST.model_copy(update={"mac": mirrored}))
    assert not answer_is_genuine(KEY, other, ANSWER)


def test_what_cannot_be_signed_is_not_genuine() -> None:
    lone = chr(0xD800)
    assert not request_is_genuine(KEY, WINDOW, REQUEST.model_copy(update={"arguments": lone}))
    assert not answer_is_genuine(KEY, WINDOW, ANSWER.model_copy(update={"body": lone}))


def test_sizes_are_bounded() -> None:
    with pytest.raises(PayloadError, match="characters are more than"):
        make_answer(KEY, WINDOW, SESSION, REQUEST_ID, "ok", "x" * (MOST_BODY_CHARACTERS + 1))
    for field, value in (("arguments", "x" * 513), ("kind", "x" * 25), ("kind", "Status"), ("version", 2), ("id", "b" * 31)):
        with pytest.raises(PayloadError):
            RemoteRequest.from_json(REQUEST.model_copy(update={field: value}).to_json())
    with pytest.raises(PayloadError):
        RemoteAnswer.from_json(ANSWER.model_copy(update={"body": "x" * (MOST_BODY_CHARACTERS + 1)}).to_json())
