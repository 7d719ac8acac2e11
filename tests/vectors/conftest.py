"""Where the programs are that the vector tests run."""

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture
def micropython() -> str:
    """Return the path of the MicroPython VM installed beside this Python."""
    found = shutil.which("micropython", path=str(Path(sys.executable).parent))
    assert found, "the MicroPython VM is not installed: pip install -e .[dev]"
    return found


@pytest.fixture
def tshark() -> str:
    """Return the path of tshark; skip where Wireshark is not installed."""
    found = shutil.which("tshark")
    if found is None:
        pytest.skip("tshark is not installed; on Debian: apt-get install tshark")
    return found
