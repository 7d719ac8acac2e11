"""What holds for every test: in CI nothing may be skipped, and long searches are longer only on request."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`, for searches that are only sampled otherwise."""
    parser.addoption("--long", action="store_true", help="run long searches at full length")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a CI run that skipped anything: CI has every tool, so a skip there is a hole."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
