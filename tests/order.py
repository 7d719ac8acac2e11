"""Which test files start first: two run at a time, and a slow one that starts last has one process wait for the other.

A list and not measured times, so that every run has the same order. It changes nothing else: tests of one file keep theirs. Used by
conftest; can be loaded as a plugin of its own.
"""

from __future__ import annotations

import pytest

SLOWEST_FIRST = (
    "tests/windows/test_window_pc.py",  # in a fresh clone it makes the program as well
    "tests/world/test_world.py",
    "tests/e2e/test_chaos.py",
    "tests/e2e/test_deb.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_long_outage.py",
    "tests/browser/test_vendor_pages.py",
    "tests/browser/test_demo_page.py",
    "tests/e2e/test_bench.py",
    "tests/fuzz/test_coverage_guided.py",
)
"""By what each took as a whole, half a minute and more."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep xdist from starting the files with the most tests first: the slowest have few."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the slowest files first."""
    place = {file: number for number, file in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
