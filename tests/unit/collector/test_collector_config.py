"""The collector's configuration and command line: every mistake is named, nothing half-starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector import cli
from collector.config import Config, load, read_hall_key
from collector.errors import ConfigError, NotRunningError, StoreError
from collector.store.database import Database
from tests.brokers import free_port
from tests.chains import HALL_KEY

RUNNER = CliRunner()
GOOD = 'data_dir = "data"\n[halls."533103/dating"]\nkey_file = "hall.key"\n'


def written(directory: Path, text: str, *, encoding: str = "utf-8") -> Path:
    file = directory / "collector.toml"
    file.write_text(text, encoding=encoding)
    return file


def test_a_small_file_is_enough_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))
    assert (config.mqtt.port, config.mqtt.protocol, config.http.host) == (1883, "3.1.1", "127.0.0.1")
    assert config.data_dir == tmp_path / "data"
    assert config.halls["533103/dating"].key_file == tmp_path / "hall.key"


def test_a_file_saved_by_notepad_is_read(tmp_path: Path) -> None:
    assert load(written(tmp_path, "# 归集\n" + GOOD, encoding="utf-8-sig")).log_level == "info"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('data_dri = "x"\n', r"data_dri: .*did you mean data_dir\?"),
        (GOOD + "[mqtt]\nhots = 1\n", r"mqtt\.hots: .*did you mean host\?"),
        (GOOD + "[http]\nembed_origin = []\n", r"http\.embed_origin: .*did you mean embed_origins\?"),
        ('data_dir="d"\n[halls."533103/dating"]\nkeyfile="k"\n', r"halls\.533103/dating\.keyfile: .*did you mean key_file\?"),
        (GOOD + "[mqtt]\nzzz = 1\n", r"mqtt\.zzz: .*known here: host, port"),
        (GOOD + "[mqtt]\nport = 70000\n", r"mqtt\.port: "),
        (GOOD + '[mqtt]\nprotocol = "4"\n', r"mqtt\.protocol: "),
        (GOOD + '[http]\nembed_origins = ["javascript:x"]\n', r"http\.embed_origins\.0: .*an origin is like"),
        (GOOD + '[http]\nhost = "0.0.0.0"\n', r"http: .*host_names"),
        (GOOD + '[store]\nurl = "sqlite:///x"\n', r"store\.url: .*a url is like postgresql://"),
        (GOOD + '[store]\nurl = "postgresql://a@b/"\n', r"store\.url: .*which database\?"),
        (GOOD + '[store]\nurl = "postgresql://a:s3cret@b/c"\n', r"store\.url: .*password_file"),
        (GOOD + '[store]\nurl = "postgresql://a@b/c?password=s3cret"\n', r"store\.url: .*password_file"),
        ('data_dir="d"\n[halls."dating"]\nkey_file="k"\n', r"a hall is area/hall"),
        ('data_dir = "x\n', r"cannot read .*collector\.toml"),
        ("[mqtt]\nport = 1\n", r"data_dir: .*missing"),
    ],
)
def test_a_mistake_is_named_by_its_path(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        load(written(tmp_path, text))
    assert "s3cret" not in str(refused.value)


def test_the_password_of_the_store_stays_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    config = load(written(tmp_path, GOOD + '[store]\nurl = "postgresql://a@/c?host=/run"\npassword_file = "password"\n'))
    assert config.store.read_password() == "s3cret"
    assert "s3cret" not in repr(config)


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCP_COLLECTOR_MQTT__PORT", "1999")
    monkeypatch.setenv("HCP_COLLECTOR_LOG_LEVEL", "debug")
    config = load(written(tmp_path, GOOD + '[mqtt]\nport = 1\nhost = "broker"\n'))
    assert (config.mqtt.port, config.mqtt.host, config.log_level) == (1999, "broker", "debug")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "nowhere.toml")


def test_a_hall_key_is_read_and_its_mistakes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "hall.key"
    file.write_text(HALL_KEY.hex() + "\n")
    file.chmod(0o600)
    assert read_hall_key(file) == HALL_KEY
    file.write_text("abc")
    with pytest.raises(ConfigError, match="64 hex digits"):
        read_hall_key(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_hall_key(tmp_path / "nowhere")


@pytest.mark.skipif(os.name != "posix", reason="Windows guards files by access lists")
def test_a_key_that_others_may_read_is_refused_without_showing_it(tmp_path: Path) -> None:
    file = tmp_path / "hall.key"
    file.write_text(HALL_KEY.hex())
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        read_hall_key(file)
    assert HALL_KEY.hex() not in str(caught.value)


def test_a_new_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "hall.key"
    assert RUNNER.invoke(cli.app, ["hall-key", "new", str(file)]).exit_code == 0
    key = read_hall_key(file)
    again = RUNNER.invoke(cli.app, ["hall-key", "new", str(file)])
    assert isinstance(again.exception, ConfigError)
    assert read_hall_key(file) == key
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600


def test_status_says_when_nothing_runs(tmp_path: Path) -> None:
    config = written(tmp_path, GOOD + f"[http]\nport = {free_port()}\n")
    result = RUNNER.invoke(cli.app, ["status", "--config", str(config)])
    assert isinstance(result.exception, NotRunningError)
    assert "no collector answers" in str(result.exception)


def test_main_turns_a_failure_into_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["collector", "run", "--config", str(tmp_path / "nowhere.toml")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_second_collector_on_the_same_data_is_refused(tmp_path: Path) -> None:
    first = Database(tmp_path)
    try:
        with pytest.raises(StoreError, match="another collector is using"):
            Database(tmp_path)
    finally:
        first.close()
    Database(tmp_path).close()


def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "collector.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="restore it from a backup"):
        Database(tmp_path)
    assert (tmp_path / "collector.db").read_bytes().startswith(b"not a database")


def test_a_second_hall_may_be_added(tmp_path: Path) -> None:
    assert isinstance(load(written(tmp_path, GOOD + '[halls."533102/b"]\nkey_file="k"\n')), Config)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HCP_COLLECTOR_MQQT__PORT", r"did you mean HCP_COLLECTOR_MQTT__PORT\?"),
        ("HCP_COLLECTOR_HTTP_PORT", r"did you mean HCP_COLLECTOR_HTTP__PORT\?"),
        ("HCP_COLLECTOR_ZZZ", "known: HCP_COLLECTOR_DATA_DIR"),
    ],
)
def test_a_misspelt_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=f"{name}: 未知的环境变量.*{hint}"):
        load(written(tmp_path, GOOD))


def test_a_hall_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCP_COLLECTOR_HALLS", '{"533103/dating": {"key_file": "k"}}')
    assert "533103/dating" in load(written(tmp_path, GOOD)).halls
