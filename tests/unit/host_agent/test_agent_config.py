"""The configuration: every mistake has its line, and the line says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host_agent.config import Config, load
from host_agent.errors import ConfigError

PLACE = '[place]\narea = "533103"\nhall = "dating"\nwindow = "07"\n'
GOOD = f'data_dir = "data"\n{PLACE}'


def read(folder: Path, text: str, encoding: str = "utf-8") -> Config:
    path = folder / "agent.toml"
    path.write_text(text, encoding=encoding)
    return load(path)


def complaint(folder: Path, text: str, encoding: str = "utf-8") -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, encoding)
    return str(caught.value)


def test_paths_are_relative_to_the_file_and_the_rest_has_a_default(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD + '[mqtt]\npassword_file = "secret"\n')
    assert config.data_dir == tmp_path / "data"
    assert config.mqtt.password_file == tmp_path / "secret"
    assert config.window().path == "533103/dating/07"
    assert config.api.port == 17610
    assert config.retention_days == 90


def test_notepads_byte_order_mark_is_taken_for_what_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD, "utf-8-sig").place.hall == "dating"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{GOOD}[mqtt]\nprot = 1\n", "mqtt.prot: 未知的键 unknown key，是否为 port？ did you mean port?"),
        (f'loglevel = "debug"\n{GOOD}', "did you mean log_level?"),
        (f"{GOOD}[mqqt]\nport = 1\n", "mqqt: 未知的键 unknown key，是否为 mqtt？ did you mean mqtt?"),
        (f"{GOOD}[api]\nzzz = 1\n", "api.zzz: 未知的键 unknown key; known: port, origins, metrics"),
        (GOOD.replace("dating", "大厅"), "hall must be 1 to 32 of"),
        (GOOD.replace("533103", "5331"), "area must be the 6 digits"),
        (PLACE, "data_dir: 缺少此项 this key is missing"),
        (GOOD.replace('hall = "dating"\n', ""), "place.hall: 缺少此项"),
        (f'{GOOD}[mqtt]\nport = "many"\n', "mqtt.port: "),
        (f"{GOOD}[mqtt]\nport = 70000\n", "mqtt.port: "),
        (f'{GOOD}[mqtt]\nhost = ""\n', "mqtt.host: "),
        (f'{GOOD}[mqtt]\nprotocol = "4"\n', "mqtt.protocol: "),
        (f'{GOOD}[device]\nid = "a b"\n', "device.id: "),
        (f'{GOOD}[api]\norigins = ["http://a/path"]\n', "api.origins.0: "),
        (f'{GOOD}[api]\norigins = ["*"]\n', "without a path"),
        (f"retention_days = 0\n{GOOD}", "retention_days: "),
        (f"mqtt = 5\n{GOOD}", "mqtt: "),
        ("data_dir = \n", "cannot read"),
    ],
)
def test_every_mistake_is_named(tmp_path: Path, text: str, line: str) -> None:
    said = complaint(tmp_path, text)
    assert line in said
    assert str(tmp_path / "agent.toml") in said or line.startswith(("hall", "area"))


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    said = complaint(tmp_path, f'{GOOD}[mqtt]\nprot = 1\nprotocol = "4"\n')
    assert len(said.splitlines()) == 3


def test_a_file_in_another_encoding_or_none_is_named(tmp_path: Path) -> None:
    assert "cannot read" in complaint(tmp_path, "# 评价\n" + GOOD, "gbk")
    with pytest.raises(ConfigError, match=r"cannot read .*make one: agent init"):
        load(tmp_path / "missing.toml")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCP_AGENT_MQTT__PORT", "2000")
    config = read(tmp_path, GOOD + '[mqtt]\nhost = "broker"\nport = 1000\n')
    assert (config.mqtt.host, config.mqtt.port) == ("broker", 2000)


def test_the_password_is_read_from_its_file_and_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim\n", encoding="utf-8-sig")
    config = read(tmp_path, GOOD + '[mqtt]\nusername = "w07"\npassword_file = "secret"\n')
    assert config.broker().password == "geheim"
    assert "geheim" not in repr(config)
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigError, match=r"mqtt\.password_file"):
        config.broker()


def test_a_certificate_that_cannot_be_used_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"mqtt\.ca_file: .*ca\.pem cannot be used"):
        read(tmp_path, GOOD + '[mqtt]\nca_file = "ca.pem"\n').broker()
    with pytest.raises(ConfigError, match=r"mqtt\.cert_file.*missing\.pem cannot be used"):
        read(tmp_path, GOOD + '[mqtt]\ntls = true\ncert_file = "missing.pem"\n').broker()
    assert read(tmp_path, GOOD + "[mqtt]\ntls = true\n").broker().tls is not None
    assert read(tmp_path, GOOD).broker().tls is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HCP_AGENT_APY__PORT", "did you mean HCP_AGENT_API__PORT?"),
        ("HCP_AGENT_MQTT_PORT", "did you mean HCP_AGENT_MQTT__PORT?"),
        ("hcp_agent_loglevel", "did you mean HCP_AGENT_LOG_LEVEL?"),
        ("HCP_AGENT_ZZZ", "known: HCP_AGENT_DATA_DIR"),
    ],
)
def test_a_misspelt_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    said = complaint(tmp_path, GOOD)
    assert f"{name.upper() if os.name == 'nt' else name}: 未知的环境变量" in said
    assert hint in said


def test_variables_of_others_and_whole_sections_are_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCP_AGENCY", "1")
    monkeypatch.setenv("HCP_AGENT_API", '{"port": 5}')
    assert read(tmp_path, GOOD).api.port == 5
