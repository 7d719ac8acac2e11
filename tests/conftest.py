"""What holds for every test: in CI nothing may be skipped, long searches are longer only on request, one PostgreSQL for all."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator

import pytest

from collector.store.postgresql import PostgresDatabase
from simulator.postgresql import Cluster, programs, running_cluster
from tests.databases import Opened, emptied, new_database, open_sqlite
from tests.order import pytest_collection_modifyitems, pytest_configure

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]  # hooks
_DRAWN = os.environ.setdefault("WORLD_FRESH_SEEDS", ",".join(str(secrets.randbelow(1 << 31)) for _ in range(3)))
FRESH_SEEDS = [int(seed) for seed in _DRAWN.split(",")]
"""Worlds that nobody has tried yet; drawn here and kept in the environment, so that all processes of one run draw the same."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which seeds were drawn: what was tried can be tried again."""
    terminalreporter.write_line(f"world: fresh seeds {_DRAWN} (python -m simulator world --seeds {_DRAWN} --minutes 2.5)")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`, for searches that are only sampled otherwise."""
    parser.addoption("--long", action="store_true", help="run long searches at full length")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a CI run that skipped anything: CI has every tool, so a skip there is a hole."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def logging_is_on() -> Iterator[None]:
    """Undo what a test of a program that silences all logging has done to the tests after it."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with running_cluster() as made:
        yield made


@pytest.fixture(scope="session")
def postgresql(cluster: Cluster) -> Iterator[PostgresDatabase]:
    """The collector's database on that server, for tests that empty it first."""
    database = PostgresDatabase(new_database(cluster), None)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The collector's database, empty, of each kind in turn."""
    opened = open_sqlite() if request.param == "sqlite" else emptied(request.getfixturevalue("postgresql"))
    yield opened
    opened.close()
