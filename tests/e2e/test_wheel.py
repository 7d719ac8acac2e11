"""The wheel holds everything that the programs need: built, installed into an empty folder, run from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from the files that git knows, so that nothing lying about gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listing.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    built = run("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "./source", cwd=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = (folder / "out").glob("*.whl")
    target = folder / "site"
    done = run("-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel), cwd=folder)
    assert done.returncode == 0, done.stderr
    return target


def test_the_demo_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    done = run("-m", "simulator", "demo", "--headless", "--presses", "3", cwd=tmp_path, path=installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "完全一致 exact" in done.stdout


@pytest.mark.parametrize("program", ["agent", "collector"])
def test_the_programs_are_installed_by_name(installed: Path, tmp_path: Path, program: str) -> None:
    done = run(str(installed / "bin" / program), "--help", cwd=tmp_path, path=installed)
    assert done.returncode == 0, done.stderr
    assert "status" in done.stdout


def test_the_generated_files_are_inside_and_current(installed: Path, tmp_path: Path) -> None:
    assert (installed / "protocol" / "golden_vectors.json").read_bytes() == (
        ROOT / "protocol" / "golden_vectors.json"
    ).read_bytes()
    assert (installed / "protocol" / "wireshark" / "evaluator.lua").exists()
