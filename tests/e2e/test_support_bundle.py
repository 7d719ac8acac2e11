"""`agent support-bundle`: what helps is in it, no secret is in any form, and what is broken is in it as broken.

Beside a real agent with a real device: secrets, cases and staff are planted wherever one can be, and looked for in every byte of
every member.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.errors import AgentError
from host_agent.store.database import FILE_NAME
from protocol.levels import Level
from tests.brokers import Broker, free_port
from tests.hall import Hall, eventually
from tests.secured import Authority

pytestmark = pytest.mark.e2e

PASSWORD = 'PLANTED-"password"\\1'
CASES = ("PLANTED-CASE-0001", "PLANTED-CASE-0002")
ITEM = "PLANTED 事项名称"
STAFF = "PLANTED-STAFF-7"
REMOTE_KEY = "5e" * 32
ENVIRONMENT = "PLANTED-ENVIRONMENT"


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    """An agent with a device, staff, two cases of which one is rated, and no broker."""
    certificate, key = Authority(tmp_path / "ca").window("533103/dating/07")
    (tmp_path / "planted.password").write_text(PASSWORD)
    more = 'username = "a-user-that-may-be-told"\npassword_file = "planted.password"\n'
    more += f'cert_file = "{certificate}"\nkey_file = "{key}"\n'
    monkeypatch.setenv("PLANTED_TOKEN", ENVIRONMENT)
    (tmp_path / "remote.key").write_text(REMOTE_KEY)
    remote = '[remote]\nkey_file = "remote.key"\n'
    no_broker = Broker("none", [], free_port(), tmp_path / "none.log")
    with Hall(tmp_path, no_broker, mqtt_more={"agent": more}, agent_more=remote) as made:
        made.device.plug_in()
        made.agent.start()
        eventually("it talks", lambda: made.status()["link"] == "talking")
        for case_no, button in zip(CASES, (0, 4), strict=True):
            body = {"case": {"case_no": case_no, "item_name": ITEM}, "staff": STAFF}
            answer = made.ask("POST", "/v1/evaluations", json=body)
            assert answer.status_code == 201, answer.text
            made.device.press(button)
            assert made.ended(answer.json()["id"]) == "rated"
        yield made


def bundle(hall: Hall, name: str = "bundle.zip") -> dict[str, str]:
    file = hall.agent.config.with_name(name)
    done = CliRunner().invoke(
        cli.app, ["support-bundle", "-c", str(hall.agent.config), "-o", str(file)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert file.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(file) as members:
        return {member: members.read(member).decode() for member in members.namelist()}


def planted(hall: Hall) -> dict[str, bytes]:
    """Everything that must not be in it."""
    with sqlite3.connect(hall.data_dir / FILE_NAME) as connection:
        raws = [raw for (raw,) in connection.execute("SELECT raw FROM records")]
        evaluations = [name for (name,) in connection.execute("SELECT id FROM evaluations")]
    found = {f"record {number}": raw for number, raw in enumerate(raws)}
    found |= {f"mac of record {number}": raw[-20:-4] for number, raw in enumerate(raws)}
    found |= {f"evaluation {name}": name.encode() for name in evaluations}
    for text in (PASSWORD, *CASES, ITEM, STAFF, ENVIRONMENT, REMOTE_KEY, "PLANTED"):
        found[text] = text.encode()
    found["token"] = (hall.data_dir / "api-token").read_bytes().strip()
    for line in next(hall.agent.config.parent.glob("ca/533103*.key")).read_bytes().splitlines():
        found[f"key {line!r}"] = line
    for level in Level:
        found |= {level.word: level.word.encode(), level.chinese: level.chinese.encode()}
    return found


def forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret)
    yield urllib.parse.quote(secret).encode()
    yield json.dumps(secret.decode("utf-8", "replace")).encode()[1:-1]


def assert_nothing_planted(hall: Hall, members: dict[str, str], secrets: dict[str, bytes]) -> None:
    for member, text in members.items():
        for name, secret in secrets.items():
            for form in forms(secret):
                assert form not in text.encode(), f"{name} is in {member}"


def test_what_helps_is_in_it_and_nothing_that_was_planted(hall: Hall) -> None:
    members = bundle(hall)
    assert_nothing_planted(hall, members, planted(hall))
    status, config = json.loads(members["status.json"]), json.loads(members["config.json"])
    assert (status["running"], status["link"], status["staff_signed_in"]) == (True, "talking", True)
    assert config["mqtt"]["username"] == "a-user-that-may-be-told"
    assert config["mqtt"]["password_file"].endswith("planted.password")
    figures = json.loads(members["database.json"])
    assert (figures["check"], figures["records"]["to_send"], figures["evaluations"]["rated"]) == (
        "ok",
        status["outbox_to_send"],
        2,
    )
    assert figures["schema"][-1] >= "0003"
    assert "错误 fail  消息服务器 broker" in members["findings.txt"]
    assert {"api-token", FILE_NAME} <= {file["name"] for file in json.loads(members["files.json"])["files"]}
    assert json.loads(members["about.json"])["libraries"]["pydantic"]
    assert "journalctl" in members["log.txt"]
    with pytest.raises(AgentError, match="already"):
        CliRunner().invoke(
            cli.app,
            ["support-bundle", "-c", str(hall.agent.config), "-o", str(hall.agent.config.with_name("bundle.zip"))],
            catch_exceptions=False,
        )


def test_what_is_broken_is_in_it_as_broken(hall: Hall) -> None:
    """One after the other: the agent, the database's content, the database, the configuration, the data directory."""
    secrets = planted(hall)
    hall.agent.stop()
    members = bundle(hall, "1.zip")
    assert json.loads(members["status.json"]) == {"running": False}
    assert_nothing_planted(hall, members, secrets)

    file = hall.data_dir / FILE_NAME
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE devices SET firmware = CAST(x'ff' || ? AS TEXT)", (CASES[0],))
        connection.execute("UPDATE evaluations SET state = CAST(x'ff' || ? AS TEXT)", (CASES[0],))
        connection.execute("UPDATE records SET received_ms = ?", (STAFF,))
    members = bundle(hall, "2.zip")
    assert "failed" in json.loads(members["database.json"])["devices"]
    assert_nothing_planted(hall, members, secrets)

    content = bytearray(file.read_bytes())
    content[0:16] = b"n" * 16
    file.write_bytes(content)
    (hall.data_dir / f"{FILE_NAME}.damaged-20260101T000000Z").write_bytes(b"x" * 10)
    members = bundle(hall, "3.zip")
    assert "not a database" in members["database.json"]
    assert "已损坏" in members["findings.txt"]
    assert "damaged-2026" in json.loads(members["files.json"])["set_aside"][0]
    assert_nothing_planted(hall, members, secrets)

    config = hall.agent.config
    config.write_text(config.read_text().replace("[place]", f"password = '{PASSWORD}'\n[place]"))
    members = bundle(hall, "4.zip")
    assert "mqtt.password: 未知的键" in members["config.json"]
    assert "not a database" in members["database.json"], "the data directory is found all the same"
    assert_nothing_planted(hall, members, secrets)

    config.write_text(f"this is no TOML {PASSWORD}")
    members = bundle(hall, "5.zip")
    assert "failed" in json.loads(members["config.json"])
    assert json.loads(members["about.json"])["agent"]
    assert_nothing_planted(hall, members, secrets)
