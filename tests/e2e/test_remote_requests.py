"""Asking a window from afar, on real brokers with the rights of docs/mqtt: the command `collector ask`, a real agent, a real line.

One hall on each broker, asked in every way; who has no key, another window's password or the asker's own password and no key,
gets nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collector import cli
from collector.errors import CollectorError
from host_agent.store.database import FILE_NAME
from protocol.levels import Level
from protocol.payloads import RemoteAnswer, RemoteRequest, State
from protocol.remote import make_answer, make_request
from protocol.signing import derive_remote_key
from protocol.topics import Down, Up, Window
from tests.chains import HALL_KEY, WINDOW
from tests.e2e.test_broker_rights import Client
from tests.hall import DEVICE, ROOT, Hall, eventually
from tests.secured import Site, secured

pytestmark = pytest.mark.e2e
KEY = derive_remote_key(HALL_KEY, WINDOW)
OTHER = Window(WINDOW.area, WINDOW.hall, "08")
ALLOWED = 'allow = ["status", "log", "records", "restart_link"]'
BLOCKS = re.findall(
    r"^```(\S+ \S+)\n(.*?)^```$", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
MAKE_KEY, ASK = (body.splitlines() for kind, body in BLOCKS if kind == "sh asking")
REMOTE = next(body for kind, body in BLOCKS if kind == "toml agent.toml" and body.startswith("[remote]"))
ASKER = next(body for kind, body in BLOCKS if kind == "toml collector.toml")
STAFF, CASE = "PLANTED-7", "PLANTED-CASE-1"


class Office:
    """The IT department: its broker, a hall, and the command with which it asks."""

    def __init__(self, name: str, folder: Path, site: Site) -> None:
        self.name = name
        self.site = site
        self.folder = folder
        for room, user in (("agent", WINDOW.path), ("collector", "collector"), ("asker", "asker")):
            (folder / f"{room}.password").write_text(site.password(user))
        logins = {
            room: f'ca_file = "{site.authority.ca}"\nusername = "{user}"\npassword_file = "{room}.password"\n'
            for room, user in (("agent", WINDOW.path), ("collector", "collector"))
        }
        self.hall = Hall(folder, site.broker, mqtt_more=logins, agent_more=REMOTE)
        self.config = self.hall.collector.config
        self.config.write_text(f"{self.config.read_text()}{ASKER}")
        for line in MAKE_KEY:
            self.as_on_the_page(line)

    def as_on_the_page(self, line: str) -> str:
        """Type a line of docs/operations.md in the folder of the configuration; return what it says."""
        program, *words = shlex.split(line)
        assert program == "collector"
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def type(self, *words: str) -> str:
        """Type a command; return what it says."""
        done = CliRunner().invoke(cli.app, [*words, "-c", str(self.config)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def ask(self, *words: str, window: Window = WINDOW) -> dict[str, Any]:
        """Ask for JSON."""
        said: dict[str, Any] = json.loads(self.type("ask", window.path, *words, "--json", "--timeout", "20"))
        return said

    def refused(self, *words: str, window: Window = WINDOW, timeout: str = "20") -> str:
        """Ask for what is refused; return the sentence."""
        with pytest.raises(CollectorError) as caught:
            self.type("ask", window.path, *words, "--timeout", timeout)
        return str(caught.value)

    def session(self) -> str:
        """Return the agent's session, as anybody who may read the state knows it."""
        with closing(Client(self.site, "asker", client_id="looks")) as asker:
            assert asker.subscribe(WINDOW.up(Up.STATE))
            return State.from_json(asker.next()[1]).session

    def counter(self, name: str) -> int:
        return int(self.hall.status()["counters"].get(name, 0))


def signed(session: str, kind: str, number: str) -> bytes:
    """A genuine request of now, made by hand."""
    request_id = f"{time.time_ns() // 1000:016x}{number * 16}"
    return make_request(KEY, WINDOW, session, request_id, kind, "{}").to_json()


@pytest.fixture(params=["mosquitto", "nats"], scope="module")
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    with secured(request.param, folder / "broker") as site:
        made = Office(request.param, folder, site)
        with made.hall:
            made.hall.start()
            made.hall.ask("PUT", "/v1/staff", json={"staff": STAFF})
            evaluation = made.hall.open(CASE)
            made.hall.device.press(4)
            assert made.hall.ended(evaluation) == "rated"
            made.hall.device.press(0)
            made.hall.await_collected(2)
            made.hall.await_released()
            yield made


def test_the_status_comes_and_every_ask_is_on_record(office: Office) -> None:
    told = office.ask("status")
    assert (told["window"], told["device"], told["link"]) == (WINDOW.path, DEVICE, "talking")
    shown = office.type("ask", WINDOW.path, "status")
    assert DEVICE in shown
    assert "评价器 device" in shown
    lines = [json.loads(line) for line in (office.folder / "collected" / "asked.jsonl").read_text().splitlines()]
    first, outcome = lines[-2:]
    assert (first["window"], first["kind"], first["arguments"], first["ask"]) == (WINDOW.path, "status", {}, outcome["ask"])
    assert first["who"]
    assert outcome["outcome"] == "ok"
    assert office.hall.collector.process is not None
    assert office.hall.summary()["broker"], "the collector's own connection stands"


def test_the_log_comes_and_holds_no_level_case_staff_or_secret(office: Office) -> None:
    lines = office.ask("log", "--lines", "500")["lines"]
    assert len(lines) > 5
    assert any(DEVICE in line for line in lines)
    assert office.ask("log", "-n", "2")["lines"][-1] not in lines, "it goes on"
    text = "\n".join(lines)
    token = (office.hall.data_dir / "api-token").read_text().strip()
    planted = [STAFF, CASE, KEY.hex(), HALL_KEY.hex(), office.site.password(WINDOW.path), token]
    planted += [level.word for level in Level] + [level.chinese for level in Level]
    assert not [one for one in planted if one in text]
    assert lines[-1] in office.type("ask", WINDOW.path, "log", "--lines", "500").replace("\n", "")


def test_records_come_once_more_and_are_stored_once(office: Office) -> None:
    before = office.hall.summary()["ingest"].get("duplicate", 0)
    assert office.ask("records", "--device", DEVICE, "--first", "1", "--last", "3") == {
        "sent_again": 3,
        "asked_of_device": 0,
        "nowhere": 0,
    }
    eventually("they came again", lambda: office.hall.summary()["ingest"].get("duplicate", 0) >= before + 3)
    office.hall.await_released()
    office.hall.await_collected(2)
    assert "too" in office.refused("records", "--device", DEVICE, "--first", "1", "--last", "5000")
    assert "PJ-9" not in office.type("ask", WINDOW.path, "records", "--device", "PJ-9", "--first", "1")


@pytest.mark.parametrize("office", ["mosquitto"], indirect=True)
def test_records_that_the_pc_has_deleted_long_ago_come_from_the_device(office: Office) -> None:
    hall = office.hall
    hall.await_released()
    before = len(hall.ratings())
    hall.agent.stop()
    with closing(sqlite3.connect(hall.data_dir / FILE_NAME, isolation_level=None)) as database:
        deleted = database.execute("DELETE FROM records WHERE seq BETWEEN 2 AND 3").rowcount
    hall.agent.start()
    hall.await_talking()
    assert deleted == 2
    assert office.ask("records", "--device", DEVICE, "--first", "1", "--last", "3") == {
        "sent_again": 1,
        "asked_of_device": 2,
        "nowhere": 0,
    }

    def held() -> bool:
        with closing(sqlite3.connect(hall.data_dir / FILE_NAME)) as database:
            return bool(database.execute("SELECT count(*) = 2 FROM records WHERE seq BETWEEN 2 AND 3").fetchone()[0])

    eventually("they are here again", held)
    hall.await_released()
    hall.device.press(3)
    hall.await_collected(before + 1)


def test_the_link_is_begun_anew_and_a_press_before_and_after_it_counts(office: Office) -> None:
    hall = office.hall
    before = len(hall.ratings())
    hall.device.press(1)
    assert office.ask("restart-link") == {"was": "talking"}
    hall.await_talking()
    hall.device.press(2)
    hall.await_collected(before + 2)
    assert any("begun anew, as was asked from afar" in line for line in office.ask("log")["lines"])
    # what is being asked of a citizen goes first
    evaluation = hall.open("C-2")
    assert "a citizen is being asked" in office.refused("restart-link")
    hall.ask("DELETE", f"/v1/evaluations/{evaluation}")
    assert hall.ended(evaluation) == "cancelled"


def test_a_forger_without_the_key_gets_no_answer_and_a_request_that_was_kept_is_done_once(office: Office) -> None:
    session = office.session()
    unsigned, answered = office.counter("remote_unsigned"), office.counter("remote_answered")
    forged = make_request(HALL_KEY, WINDOW, session, "0" * 32, "restart_link", "{}")
    genuine = signed(session, "status", "0")
    old = make_request(KEY, WINDOW, "0" * 32, "f" * 32, "restart_link", "{}")
    with closing(Client(office.site, "asker", client_id="forger")) as forger:
        assert forger.subscribe(WINDOW.up(Up.ANSWER))
        for request in (forged.to_json(), old.to_json(), genuine, genuine):
            forger.publish(WINDOW.down(Down.REQUEST), request)
        first, again = forger.next()[1], forger.next()[1]
        assert first == again
        assert RemoteAnswer.from_json(first).request == RemoteRequest.from_json(genuine).id
        assert forger.heard.empty()
    assert office.counter("remote_unsigned") == unsigned + 1
    assert office.counter("remote_answered") == answered + 1
    assert office.counter("remote_late") >= 1


def test_a_retained_request_does_nothing_at_the_next_connection(office: Office) -> None:
    request = signed(office.session(), "restart_link", "2")
    with closing(Client(office.site, "asker", client_id="keeper")) as keeper:
        assert keeper.subscribe(WINDOW.up(Up.ANSWER))
        keeper.publish(WINDOW.down(Down.REQUEST), request, retain=True)
        assert RemoteAnswer.from_json(keeper.next()[1]).word == "ok"
        office.hall.agent.stop()
        office.hall.agent.start()
        office.hall.await_talking()
        eventually("it came again", lambda: office.counter("remote_late"))
        keeper.publish(WINDOW.down(Down.REQUEST), b"", retain=True)
        assert office.counter("remote_answered") == 0
        assert keeper.heard.empty()


def test_a_window_neither_asks_nor_hears_another(office: Office) -> None:
    session = office.session()
    crossing = signed(session, "restart_link", "3")
    invented = make_answer(KEY, WINDOW, "0" * 32, "0" * 32, "ok", "{}").to_json()
    before = office.counter("remote_answered")
    with closing(Client(office.site, "asker", client_id="listens")) as asker:
        assert asker.subscribe(WINDOW.up(Up.ANSWER))
        for topic, payload in ((WINDOW.down(Down.REQUEST), crossing), (WINDOW.up(Up.ANSWER), invented)):
            with closing(Client(office.site, OTHER.path, client_id="crosses")) as other:
                other.publish(topic, payload)
        for number, topic in enumerate((WINDOW.up(Up.ANSWER), WINDOW.down(Down.REQUEST), "hcp/v1/+/+/+/up/answer", "hcp/#")):
            with closing(Client(office.site, OTHER.path, client_id="overhears")) as other:
                other.subscribe(topic)
                request = signed(session, "status", f"{4 + number}")
                asker.publish(WINDOW.down(Down.REQUEST), request)
                said = RemoteAnswer.from_json(asker.next()[1])
                assert said.request == RemoteRequest.from_json(request).id, "and nothing before it"
                if other.client.is_connected():
                    assert other.subscribe(OTHER.down(Down.REQUEST))
                    asker.publish(OTHER.down(Down.REQUEST), b"mine")
                    assert other.next() == (OTHER.down(Down.REQUEST), b"mine"), "and nothing before it"
    assert office.counter("remote_answered") == before + 4


def test_the_asker_can_do_nothing_but_ask(office: Office) -> None:
    session = office.session()
    refused = office.hall.summary()["ingest"].get("malformed", 0)
    for topic in (WINDOW.down(Down.RECEIPT), WINDOW.down(Down.CASE), WINDOW.up(Up.RECORD), WINDOW.up(Up.STATE)):
        with closing(Client(office.site, "asker", client_id="oversteps")) as asker:
            asker.publish(topic, b"crossed")
    with closing(Client(office.site, "asker", client_id="overhears")) as asker:
        asker.subscribe("hcp/v1/+/+/+/up/record")
        before = len(office.hall.ratings())
        office.hall.device.press(0)
        office.hall.await_collected(before + 1)
        office.hall.await_released()
        if asker.client.is_connected():
            assert asker.subscribe(WINDOW.up(Up.ANSWER))
            asker.publish(WINDOW.down(Down.REQUEST), signed(session, "status", "8"))
            assert asker.next()[0] == WINDOW.up(Up.ANSWER), "and nothing before it"
    assert "receipts_refused" not in office.hall.status()["counters"]
    assert office.hall.summary()["ingest"].get("malformed", 0) == refused


Answer = Callable[[RemoteRequest], tuple[Up, bytes]]
"""What somebody with the window's password publishes when a request comes; only with its key is it an answer."""


def state(session: str, *, online: bool) -> bytes:
    return State(session=session, online=online, since_ms=1, agent="1").to_json()


def forged_answer(request: RemoteRequest) -> tuple[Up, bytes]:
    return Up.ANSWER, make_answer(HALL_KEY, WINDOW, request.session, request.id, "ok", "{}").to_json()


def unreadable(request: RemoteRequest) -> tuple[Up, bytes]:
    return Up.ANSWER, make_answer(KEY, WINDOW, request.session, request.id, "ok", "[]").to_json()


def genuine_refusal(request: RemoteRequest) -> tuple[Up, bytes]:
    text = '{"text":"以后 \\u001b later"}'
    return Up.ANSWER, make_answer(KEY, WINDOW, request.session, request.id, "of_a_later_version", text).to_json()


def other_session(_request: RemoteRequest) -> tuple[Up, bytes]:
    return Up.STATE, state("e" * 32, online=True)


def gone(request: RemoteRequest) -> tuple[Up, bytes]:
    return Up.STATE, state(request.session, online=False)


def late_will(_request: RemoteRequest) -> tuple[Up, bytes]:
    return Up.STATE, state("d" * 32, online=False)


@contextlib.contextmanager
def impostor(office: Office, answers: list[Answer]) -> Iterator[None]:
    """Somebody with the window's password in its agent's place."""
    with closing(Client(office.site, WINDOW.path)) as made:
        assert made.subscribe(WINDOW.down(Down.REQUEST))
        made.publish(WINDOW.up(Up.STATE), state("f" * 32, online=True), retain=True)

        def answer(client: Any, _data: Any, message: Any) -> None:
            for one in answers:
                up, payload = one(RemoteRequest.from_json(bytes(message.payload)))
                client.publish(WINDOW.up(up), payload, qos=1)

        made.client.on_message = answer
        yield


@pytest.mark.parametrize("office", ["mosquitto"], indirect=True)
def test_each_way_to_get_no_answer_has_its_sentence(office: Office, tmp_path: Path) -> None:
    assert "no agent has ever said hello" in office.refused(
        "status", window=Window(WINDOW.area, WINDOW.hall, "99"), timeout="1"
    )
    assert "no key of that hall" in office.refused("status", window=Window(WINDOW.area, "other", "07"))
    assert "--device is missing" in office.refused("records", "--first", "1")
    assert "does not go with status" in office.refused("status", "--lines", "5")
    config = office.config.read_text()
    (tmp_path / "other.key").write_text("11" * 32)
    os.chmod(tmp_path / "other.key", 0o600)
    for old, new, sentence in (
        ('username = "asker"', 'username = "collector"', "a user of its own is needed"),
        ("asker.password", "agent.password", "check [ask] username"),
        ('key_file = "hall.key"', f'key_file = "{tmp_path / "other.key"}"', "is online and does not answer"),
        (f"port = {office.site.broker.port}", "port = 1", "the broker cannot be reached"),
    ):
        assert old in config
        office.config.write_text(config.replace(old, new))
        try:
            assert sentence in office.refused("status", timeout="1")
        finally:
            office.config.write_text(config)
    office.config.write_text(config.replace('protocol = "3.1.1"', 'protocol = "5"'))
    assert office.ask("status")["window"] == WINDOW.path, "MQTT 5 as well"
    office.config.write_text(config)
    hall = office.hall
    hall.agent.stop()
    assert "is offline since" in office.refused("status")
    ways: list[tuple[list[Answer], str]] = [
        ([], "is online and does not answer"),
        ([forged_answer], "not signed by this window"),
        ([other_session], "has connected anew"),
        ([gone], "has gone offline"),
        ([forged_answer, unreadable], "cannot be read"),
        ([late_will, forged_answer, genuine_refusal], "refused (of_a_later_version): 以后 ? later"),
    ]
    for answers, sentence in ways:
        with impostor(office, answers):
            assert sentence in office.refused("status", timeout="1.5")
    text = hall.agent.config.read_text()
    hall.agent.config.write_text(text.replace(ALLOWED, 'allow = ["log"]'))
    hall.agent.start()
    hall.await_talking()
    assert "the window does not allow it" in office.refused("status")
    hall.agent.stop()
    hall.agent.config.write_text(text)
    hall.agent.start()
    hall.await_talking()


def test_the_page_is_right(office: Office) -> None:
    assert len(ASK) == 4
    said = [office.as_on_the_page(line) for line in ASK]
    office.hall.await_talking()
    assert DEVICE in said[0]
    assert "已答复远程请求 status" in said[1]
    assert "重新发送 sent again: " in said[2]
    assert json.loads(said[3]) == {"was": "talking"}
    assert ALLOWED in REMOTE


def test_the_key_file_is_its_owners_and_never_overwritten(office: Office) -> None:
    file = office.folder / "remote.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(CollectorError, match="cannot make"):
        office.type("remote-key", WINDOW.path, "-o", str(file))
    assert file.read_text().strip() == office.type("remote-key", WINDOW.path).strip() == KEY.hex()
