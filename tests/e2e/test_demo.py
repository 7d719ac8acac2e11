"""The demo's main job without a browser, and what a clumsy user meets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from simulator.demo.stage import OURS
from tests.demo_process import ROOT, demo_page, run_demo

pytestmark = pytest.mark.e2e


def test_headless_presses_arrive_exactly_once_and_again_on_the_same_data(tmp_path: Path) -> None:
    first = run_demo(tmp_path / "demo", "--headless", "--presses", "200")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "完全一致 exact" in first.stdout
    second = run_demo(tmp_path / "demo", "--headless", "--presses", "5", "--seed", "2")
    assert second.returncode == 0, second.stdout + second.stderr
    anew = run_demo(tmp_path / "demo", "--headless", "--presses", "1", "--reset")
    assert anew.returncode == 0, anew.stdout + anew.stderr


@pytest.mark.parametrize("option", [[], ["--reset"]])
def test_a_folder_with_something_else_in_it_is_left_alone(option: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "hall.key").write_text("another hall's")
    refused = run_demo(tmp_path, "--headless", *option)
    assert refused.returncode == 1
    assert "thesis.txt" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hall.key", "thesis.txt"]
    assert (tmp_path / "hall.key").read_text() == "another hall's"


def test_the_demo_makes_nothing_in_its_folder_but_what_it_may_delete(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert run_demo(folder, "--headless", "--presses", "1").returncode == 0
    assert {path.name for path in folder.iterdir()} <= OURS


def test_a_second_demo_on_the_same_folder_says_so_and_a_taken_port_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo_page(tmp_path / "demo", port=port) as url:
            assert not url.endswith(f":{port}/")
            second = run_demo(tmp_path / "demo", "--headless", "--reset")
            assert second.returncode == 1
            assert "another demo uses this folder" in second.stderr
            assert (tmp_path / "demo" / "hall.key").exists()


def test_nothing_is_left_running_after_ctrl_c(tmp_path: Path) -> None:
    with demo_page(tmp_path / "demo"):
        children = [
            child for child in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(child.info["cmdline"] or [])
        ]
        assert len(children) >= 5  # demo, broker, collector, agent, device
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not alive


def test_run_py_explains_itself(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "run.py"), "dmeo"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "run.py demo" in done.stdout


def test_run_py_says_what_to_do_without_an_index(tmp_path: Path) -> None:
    for name in ("run.py", "tools/requirements/run.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_CACHE_DIR": "1",
    }
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), "setup"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert "installing failed; check the network" in done.stdout
