"""What a target is: a name, what it holds to, inputs to begin with, and a check that takes any bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

Check = Callable[[bytes], None]
"""Takes one input; raises Broken, or whatever escapes from the code under test, when something does not hold."""

_VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "golden_vectors.json"


class Broken(AssertionError):
    """Something that must hold for every input did not."""


@dataclass(frozen=True, slots=True)
class Target:
    """One entrance. `make` builds what is fuzzed once and returns the check; `seeds` are inputs of the ordinary kind."""

    name: str
    promise: str
    make: Callable[[], Check]
    seeds: Callable[[], list[bytes]]


def must(holds: bool, what: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what)


@lru_cache(1)
def vectors() -> dict[str, Any]:
    """Return the golden vectors."""
    loaded: dict[str, Any] = json.loads(_VECTORS.read_text(encoding="utf-8"))
    return loaded


def golden(group: str, field: str) -> list[bytes]:
    """Return one field of a group of golden vectors, as bytes."""
    return [bytes.fromhex(vector[field]) for vector in vectors()[group] if field in vector]


# Inputs of several steps: one byte that says what, two for the length, then so many bytes; what is cut short ends early.


def step(what: int, body: bytes = b"") -> bytes:
    """Write one step of an input."""
    return bytes([what]) + len(body).to_bytes(2, "little") + body


def steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Read the steps of an input; any bytes are some steps."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "little")
        yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size
