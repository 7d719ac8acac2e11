"""One Windows 10 under wine for all tests here, and the setup.exe of two versions of the agent; made once, kept below build/."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.windows.pc import MARKER, Setups
from tools.windows import build, interpreter
from tools.windows.wine import Wine


@pytest.fixture(scope="session")
def setups(windows: Wine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setups]:
    """The setup.exe of a version, of the next one, of one whose service does not start, and of one that nothing can run."""
    program, folder = build.program(windows), tmp_path_factory.mktemp("setups")
    earlier, broken, blocked = folder / "earlier", folder / "broken", folder / "blocked"
    shutil.copytree(program, earlier)
    (earlier / "_internal" / MARKER).touch()
    shutil.copytree(program, broken)
    (broken / "_internal" / "win32" / "servicemanager.pyd").unlink()
    blocked.mkdir()
    (blocked / "agent.exe").touch()
    yield Setups(
        earlier=build.setup(folder / "earlier-setup.exe", earlier, "0.0.9", quick=True),
        now=build.setup(folder / "agent-setup.exe", program, quick=True),
        broken=build.setup(folder / "broken-setup.exe", broken, "9.9.9", quick=True),
        blocked=build.setup(folder / "blocked-setup.exe", blocked, "9.9.9", quick=True),
    )
    shutil.rmtree(folder)  # 0.2 GB that pytest would keep three of


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """A Chinese Windows 10."""
    _must_be_possible()
    folder = tmp_path_factory.mktemp("windows") / "pc"
    with Wine(folder) as running:
        yield running
    shutil.rmtree(folder)  # 0.7 GB that pytest would keep three of


@pytest.fixture(scope="session")
def python(windows: Wine) -> Path:
    """A Windows Python, without our program around it."""
    return interpreter.make()


def _must_be_possible() -> None:
    why = interpreter.missing() or (None if shutil.which("makensis") else "makensis not installed: apt install nsis")
    if why is not None:
        pytest.skip(why)
