"""Everything that takes bytes from outside, under hypothesis; and every input that once broke something, again.

The checks are those of tools/fuzz, so that both search for the same thing. What coverage-guided fuzzing finds is put into
regressions/TARGET-WHAT.bin, where it stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.fuzz.target import Check, step
from tools.fuzz.targets import MODULES, target

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.bin"))
EXAMPLES = {"device": 40, "mqtt": 40, "conversation": 100, "requests": 100, "pages": 60, "agent-api": 150}
IN_STEPS = ("conversation", "device", "mqtt")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # each refusal is logged, once for each input
    yield
    logging.disable(logging.NOTSET)


@lru_cache(None)
def check_of(name: str) -> Check:
    return target(name).make()


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Seeds, seeds with bytes changed, cut and put together, and bytes of no origin."""
    seeds = st.sampled_from(target(name).seeds())
    changes = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4)
    changed = st.builds(_changed, seeds, changes, st.integers(0, 3))
    wild = st.binary(max_size=300)
    if name in IN_STEPS:
        wild = st.lists(st.builds(step, st.integers(0, 255), wild), max_size=8).map(b"".join)
    return seeds | changed | wild | st.builds(lambda first, then: first + then, changed, wild)


def _changed(seed: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    made = bytearray(seed)
    for at, value in changes:
        if made:
            made[at % len(made)] = value
    return bytes(made[: len(made) - cut])


@pytest.mark.parametrize("name", MODULES)
def test_any_bytes_are_borne(name: str) -> None:
    check = check_of(name)

    @settings(max_examples=EXAMPLES.get(name, 300), suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(inputs(name))
    def search(data: bytes) -> None:
        check(data)

    search()


@pytest.mark.parametrize("name", MODULES)
def test_what_is_ordinary_is_borne(name: str) -> None:
    check = check_of(name)
    seeds = target(name).seeds()
    assert seeds
    for seed in seeds:
        check(seed)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_found_once_is_borne(path: Path) -> None:
    name = next(name for name in MODULES if path.stem.startswith(name + "-"))
    check_of(name)(path.read_bytes())


def test_giants_and_deep_nests_are_evidence() -> None:
    check: Callable[[bytes], None] = check_of("mqtt")
    for giant in (b"[" * 50_000, b'{"a":' * 10_000, b'"' + b"a" * 60_000 + b'"', b"9" * 60_000, b"-" + b"9" * 5000):
        for usual_topic in (1, 3, 5):
            check(step(usual_topic, giant))
