"""Which seeds are tried: always the same few, and each time some fresh ones, whose numbers are in the log."""

from __future__ import annotations

import pytest

from tests.conftest import FRESH_SEEDS

FIXED = range(1, 7)
LONG = range(1, 1001)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test of a world its seeds."""
    if "world_seed" in metafunc.fixturenames:
        fixed = LONG if metafunc.config.getoption("--long") else FIXED
        metafunc.parametrize("world_seed", [*fixed, *FRESH_SEEDS])
