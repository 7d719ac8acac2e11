"""Making a configuration and checking it: what is asked, what is written, what is found."""

from __future__ import annotations

import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from host_agent import cli, config_file
from host_agent.config import Config, load
from host_agent.config_file import Answers
from host_agent.doctor import Grade, check
from host_agent.doctor import broker as broker_checks
from host_agent.doctor import device as device_checks
from host_agent.errors import AgentError, ConfigError
from host_agent.link.boards import LISTENING
from host_agent.store.database import Writer
from tests.brokers import free_port
from tests.chains import WINDOW

PLACE = ["--area", WINDOW.area, "--hall", WINDOW.hall, "--window", WINDOW.window]
RUNNER = CliRunner()


def made(folder: Path, **more: object) -> Config:
    answers = Answers(WINDOW, "127.0.0.1", 1883, **more)  # type: ignore[arg-type]  # fields by name
    config_file.write(folder / "agent.toml", answers)
    return load(folder / "agent.toml")


def names(section: type[BaseModel], path: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= names(field.annotation, f"{name}.")
        else:
            found.add(path + name)
    return found


def test_every_key_is_in_it_and_what_is_commented_out_is_its_default(tmp_path: Path) -> None:
    config = made(tmp_path)
    text = (tmp_path / "agent.toml").read_text(encoding="utf-8")
    uncommented = re.sub(r"(?m)^#(\w+ = |\[\[)", r"\1", text)
    values = tomllib.loads(uncommented)
    written = {f"{section}.{key}" for section, keys in values.items() if isinstance(keys, dict) for key in keys}
    written |= {key for key, value in values.items() if not isinstance(value, dict)}
    assert written == names(Config)
    for key in ("retention_days", "log_level"):
        assert values[key] == getattr(config, key)
    assert (values["api"]["port"], values["mqtt"]["protocol"]) == (config.api.port, config.mqtt.protocol)
    assert (values["device"]["dtr"], values["device"]["rts"]) == LISTENING, "what most boards have by default"


@pytest.mark.parametrize("word", ['with "quotes"', "back\\slash", "口令 é", "#"])
def test_what_was_answered_is_what_is_read(tmp_path: Path, word: str) -> None:
    config = made(tmp_path, username=word, password=word, device_port=word, data_dir=word, tls=True)
    assert (config.mqtt.username, config.device.port, config.mqtt.tls) == (word, word, True)
    assert config.data_dir == tmp_path / word
    assert config.broker().password == word


def test_nothing_is_overwritten_and_a_secret_is_its_owners(tmp_path: Path) -> None:
    made(tmp_path, password="secret")
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / config_file.PASSWORD_FILE).stat().st_mode) == 0o600
    assert "secret" not in (tmp_path / "agent.toml").read_text(encoding="utf-8")
    (tmp_path / "agent.toml").unlink()
    with pytest.raises(ConfigError, match="nothing was changed"):
        made(tmp_path, password="other")
    assert not (tmp_path / "agent.toml").exists()
    assert (tmp_path / config_file.PASSWORD_FILE).read_text() == "secret"


def test_the_command_makes_what_the_options_say(tmp_path: Path) -> None:
    file = tmp_path / "new" / "agent.toml"
    said = RUNNER.invoke(
        cli.app,
        ["init", "-c", str(file), *PLACE, "--broker", "mqtt.example", "--ca-file", "ca.pem", "--password-stdin"],
        input="secret\r\n",
        catch_exceptions=False,
    )
    assert said.exit_code == 0
    assert f"agent config check --config {file}" in said.output
    mqtt = tomllib.loads(file.read_text(encoding="utf-8"))["mqtt"]
    assert mqtt == {
        "host": "mqtt.example", "port": 8883, "ca_file": "ca.pem", "username": WINDOW.path, "password_file": "mqtt.password"
    }  # fmt: skip
    assert (file.parent / "mqtt.password").read_text() == "secret"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "缺少 --area is missing"),
        (PLACE, "缺少 --broker is missing"),
        ([*PLACE[:3], "大厅", *PLACE[4:], "--broker", "b"], "hall must be 1 to 32 of"),
        ([*PLACE, "--broker", "b:x"], "HOST:PORT"),
        ([*PLACE, "--broker", "b:70000"], "HOST:PORT"),
        ([*PLACE, "--broker", ":1883"], "HOST:PORT"),
    ],
)
def test_what_is_missing_or_wrong_is_told_and_nothing_is_made(tmp_path: Path, options: list[str], said: str) -> None:
    with pytest.raises(AgentError, match=re.escape(said)):
        RUNNER.invoke(cli.app, ["init", "-c", str(tmp_path / "agent.toml"), *options], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("mine")
    with pytest.raises(AgentError, match="nothing was changed"):
        RUNNER.invoke(cli.app, ["init", "-c", str(file)], catch_exceptions=False)
    assert file.read_text() == "mine"


def findings(config: Config) -> dict[str, tuple[Grade, str]]:
    return {finding.what.split()[-1]: (finding.grade, finding.text) for finding in check(config)}


def test_a_broker_that_is_not_there_fails_the_check(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    config_file.write(file, Answers(WINDOW, "127.0.0.1", free_port()))
    said = RUNNER.invoke(cli.app, ["config", "check", "-c", str(file)], catch_exceptions=False)
    assert said.exit_code == 2
    assert "is the broker running" in " ".join(said.output.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.toml"], "a check leaves nothing behind"


def test_a_certificate_that_is_not_there_is_named_by_its_key(tmp_path: Path) -> None:
    grade, text = findings(made(tmp_path, ca_file="missing.pem"))["broker"]
    assert grade is Grade.FAIL
    assert "mqtt.ca_file" in text
    assert "missing.pem" in text


@pytest.mark.skipif(sys.platform == "win32", reason="a port that is a file is POSIX")
def test_ports_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_checks, "list_candidates", lambda: ["/dev/ttyACM0"])
    grade, text = findings(made(tmp_path))["port"]
    assert (grade, "/dev/ttyACM0" in text) == (Grade.OK, True)
    (tmp_path / "agent.toml").unlink()
    grade, text = findings(made(tmp_path, device_port="/dev/ttyACM7"))["port"]
    assert (grade, "/dev/ttyACM0" in text) == (Grade.WARN, True)
    monkeypatch.setattr(device_checks, "list_candidates", list)
    (tmp_path / "agent.toml").unlink()
    assert findings(made(tmp_path))["port"][0] is Grade.WARN


def test_beside_a_running_agent_nothing_is_tried_that_would_disturb_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = made(tmp_path)
    writer = Writer(config.data_dir)
    monkeypatch.setattr(broker_checks, "why_not", lambda _broker: None)
    monkeypatch.setattr(broker_checks, "try_login", lambda *_arguments: pytest.fail("it would throw the agent off"))
    found = findings(config)
    writer.close()
    assert {grade for grade, _ in found.values()} == {Grade.OK}
    assert "rights" not in found
    assert "running" in found["port"][1]
