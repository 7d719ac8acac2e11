"""A configuration that was prepared elsewhere is taken over whole, secrets for their owner only, and never over one that is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host_agent.config_file import adopt
from host_agent.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    folder.mkdir()
    (folder / "agent.toml").write_text("# 07", encoding="utf-8")
    (folder / "mqtt.password").write_bytes(b"hunter2\r\n")
    return folder


def test_a_folder_comes_with_what_the_configuration_names(prepared: Path, tmp_path: Path) -> None:
    place = tmp_path / "etc" / "window.toml"
    assert sorted(path.name for path in adopt(prepared, place)) == ["mqtt.password", "window.toml"]
    assert place.read_text(encoding="utf-8") == "# 07"
    secret = place.with_name("mqtt.password")
    assert secret.read_bytes() == b"hunter2\r\n", "byte by byte"
    if os.name == "posix":
        assert secret.stat().st_mode & 0o077 == 0


def test_a_file_comes_alone(prepared: Path, tmp_path: Path) -> None:
    place = tmp_path / "etc" / "agent.toml"
    adopt(prepared / "agent.toml", place)
    assert [path.name for path in place.parent.iterdir()] == ["agent.toml"]


def test_what_is_there_stays(prepared: Path, tmp_path: Path) -> None:
    place = tmp_path / "etc" / "agent.toml"
    place.parent.mkdir()
    place.with_name("mqtt.password").write_text("mine", encoding="ascii")
    adopt(prepared, place)
    assert place.with_name("mqtt.password").read_text(encoding="ascii") == "mine"


def test_a_folder_without_a_configuration_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="--from"):
        adopt(tmp_path / "empty", tmp_path / "etc" / "agent.toml")
    assert not (tmp_path / "etc").exists()


def test_a_terminal_without_chinese_characters_is_no_error() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "host_agent", "--help"], cwd=ROOT, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"The rating agent of one window" in done.stdout
