"""Which seeds are tried: always the same few, and each time some fresh ones, whose numbers are in the log."""

from __future__ import annotations

import secrets

import pytest

FIXED = range(1, 7)
LONG = range(1, 1001)
FRESH = [secrets.randbelow(1 << 31) for _ in range(3)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which seeds were drawn: what was tried can be tried again."""
    seeds = ", ".join(map(str, FRESH))
    terminalreporter.write_line(f"world: fresh seeds {seeds} (python -m simulator world --seed N --minutes 2.5)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test of a world its seeds."""
    if "world_seed" in metafunc.fixturenames:
        fixed = LONG if metafunc.config.getoption("--long") else FIXED
        metafunc.parametrize("world_seed", [*fixed, *FRESH])
