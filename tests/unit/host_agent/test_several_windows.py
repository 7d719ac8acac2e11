"""Several windows at one PC: one configuration taken apart, one set of ports shared, one process that ends as one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.config import Config, load
from host_agent.config_file import add_window, further_window
from host_agent.errors import AgentError, ConfigError, PortBusyError, PortError
from host_agent.link.port import OpenPort, Transport
from host_agent.link.search import LEAVE_ALONE_S, Belongs, Search
from host_agent.link.shared_ports import SharedPorts
from host_agent.service.running import Running, _Beats
from host_agent.store.database import FILE_NAME, Writer
from host_agent.store.outbox import Outbox
from host_agent.store.schema import DISPUTED, RECEIPTED
from host_agent.windows import each, one_of, secret_files, some_of
from tests.agent_bench import DEVICE, at
from tests.chains import PaperDevice

FIRST = """\
data_dir = "data"
[place]
area = "533103"
hall = "dating"
window = "01"
[device]
id = "PJ-0001"
[mqtt]
host = "broker"
username = "533103/dating/01"
password_file = "one.password"
[api]
port = 0
compatibility_port = 1919
"""
SECOND = '[[windows]]\nwindow = "02"\ndevice = { id = "PJ-0002" }\n'


def read(folder: Path, text: str) -> Config:
    (folder / "agent.toml").write_text(text, encoding="utf-8")
    return load(folder / "agent.toml")


def test_each_window_is_as_if_it_were_the_only_one(tmp_path: Path) -> None:
    login = 'mqtt = { username = "533103/dating/02", password_file = "two.password" }\napi = { compatibility_port = 1920 }\n'
    first, second = each(read(tmp_path, FIRST + SECOND + login))
    assert (first.data_dir, second.data_dir) == (tmp_path / "data", tmp_path / "data" / "window-02")
    assert (first.window().path, second.window().path) == ("533103/dating/01", "533103/dating/02")
    assert (first.device.id, second.device.id) == ("PJ-0001", "PJ-0002")
    assert (second.mqtt.host, second.mqtt.username) == ("broker", "533103/dating/02")
    assert second.mqtt.password_file == tmp_path / "two.password"
    assert (first.api.compatibility_port, second.api.compatibility_port) == (1919, 1920)


def test_another_window_logs_in_as_the_first_unless_it_says_otherwise(tmp_path: Path) -> None:
    first, second = each(read(tmp_path, FIRST + SECOND))
    assert second.mqtt == first.mqtt
    assert second.api.compatibility_port is None
    text = FIRST + SECOND + 'mqtt = { cert_file = "two.pem", key_file = "two.key" }\n'
    config = read(tmp_path, text)
    second = each(config)[1]
    assert (second.mqtt.username, second.mqtt.password_file) == (None, None), "not with another's password"
    assert secret_files(config) == [tmp_path / "one.password", tmp_path / "two.key"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FIRST + '[[windows]]\nwindow = "02"\n', "say by device.id"),
        (FIRST.replace('id = "PJ-0001"', "") + SECOND, "belongs to window 01"),
        (FIRST + SECOND.replace("0002", "0001"), "have the same device.id = PJ-0001"),
        (FIRST + SECOND.replace('"02"', '"01"'), "have the same window"),
        (FIRST.replace('"01"', '"a"') + SECOND.replace('"02"', '"A"'), "have the same window"),
        (FIRST + SECOND + "api = { compatibility_port = 1919 }\n", "have the same api.compatibility_port"),
        (FIRST + SECOND.replace('"02"', '"二"'), "window must be 1 to 32 of"),
    ],
)
def test_windows_that_cannot_be_told_apart_are_named(tmp_path: Path, text: str, said: str) -> None:
    config = read(tmp_path, text)
    with pytest.raises(ConfigError, match=said):
        each(config)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('devise = { id = "PJ-0002" }\n', "windows.0.devise: 未知的键 unknown key，是否为 device？ did you mean device?"),
        ("device = { ids = 1 }\n", "windows.0.device.ids: 未知的键 unknown key，是否为 id？"),
        ("mqtt = { host = 1 }\n", "windows.0.mqtt.host: 未知的键"),
    ],
)
def test_a_wrong_key_of_another_window_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, FIRST + '[[windows]]\nwindow = "02"\n' + line)
    assert said in str(caught.value)


def test_a_command_for_one_window_asks_which(tmp_path: Path) -> None:
    several, alone = read(tmp_path, FIRST + SECOND), read(tmp_path, FIRST)
    assert one_of(alone, None).place.window == "01"
    assert one_of(several, "02").place.window == "02"
    assert [one.place.window for one in some_of(several, None)] == ["01", "02"]
    with pytest.raises(ConfigError, match="name one: 01, 02"):
        one_of(several, None)
    with pytest.raises(ConfigError, match=r"03 is no window at this PC; .*there is: 01, 02"):
        some_of(several, "03")


def test_before_data_is_deleted_all_windows_are_asked_whether_everything_is_collected(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    folders = [one.data_dir for one in each(read(tmp_path, FIRST + SECOND))]

    def ask(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.app, ["db", "waiting", "-c", str(config), *words])
        return done.exit_code, f"{done.output}{done.exception or ''}"

    device = PaperDevice()
    for folder in folders:
        with contextlib.closing(Writer(folder)) as writer, writer.transaction() as connection:
            records = [device.write() for _ in range(2)]
            Outbox(writer).accept(connection, DEVICE, [(one, one.pack()) for one in records], 1)
            connection.execute("UPDATE records SET state = ? WHERE seq = ?", (RECEIPTED, records[0].seq))
    code, said = ask()
    assert (code, "2 条记录尚未归集" in said) == (2, True), said
    with contextlib.closing(Writer(folders[0])) as writer:
        writer.connection.execute("UPDATE records SET state = ?", (RECEIPTED,))
    code, said = ask("--in", str(tmp_path))
    assert (code, "1 条记录尚未归集" in said) == (2, True), said
    with contextlib.closing(Writer(folders[1])) as writer:
        writer.connection.execute("UPDATE records SET state = ?", (DISPUTED,))
    assert ask() == (0, "全部已归集 everything is collected\n")
    assert ask("--in", str(tmp_path / "mistyped"))[0] == 1
    (folders[1] / FILE_NAME).write_bytes(b"no database")
    code, said = ask()
    assert (code, "无法读取 cannot be read" in said) == (1, True), said


def test_a_device_goes_to_the_window_that_names_it(tmp_path: Path) -> None:
    first, second = each(read(tmp_path, FIRST + SECOND.replace('id = "PJ-0002"', 'id = "PJ-0002", port = "COM9"')))
    assert [first.belongs(f"PJ-000{number}") for number in (1, 2, 3)] == [Belongs.HERE, Belongs.BESIDE, Belongs.NOWHERE]
    # at a port that is this window's own, one that nobody names is taken, as it is where there is only one window
    assert [second.belongs(f"PJ-000{number}") for number in (1, 2, 3)] == [Belongs.BESIDE, Belongs.HERE, Belongs.HERE]
    (alone,) = each(read(tmp_path, FIRST))
    assert alone.belongs("PJ-0003") is Belongs.HERE


def test_a_port_with_anothers_device_is_left_alone_for_a_while_or_until_it_was_gone() -> None:
    search = Search(None)
    search.candidates(["COM1", "COM2"], at(0))
    search.not_ours("COM1", at(0))
    search.failed(at(0))
    search.failed(at(0))
    search.candidates(["COM1", "COM2"], at(1))
    assert search.next_port(at(1)) == "COM2"
    search.failed(at(1))
    search.candidates(["COM1", "COM2"], at(LEAVE_ALONE_S))
    assert search.next_port(at(LEAVE_ALONE_S)) == "COM1"
    search.not_ours("COM1", at(LEAVE_ALONE_S))
    search.candidates(["COM2"], at(LEAVE_ALONE_S + 1))
    search.candidates(["COM1", "COM2"], at(LEAVE_ALONE_S + 2))
    assert search.next_port(at(LEAVE_ALONE_S + 9)) == "COM1"


class PaperPorts:
    """Opens at once whatever is not in `broken`."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.closed = 0

    def find(self, then: Callable[[list[str]], None]) -> None:
        then(["COM1", "com2"])

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        return changed

    def open(self, name: str, dtr: bool | None, rts: bool | None, then: Callable[[Transport | PortError], None]) -> None:
        assert (dtr, rts) == (True, False)
        then(PortError("gone") if name in self.broken else PaperLine(self))

    def attach(self, transport: Transport, bytes_in: Callable[[bytes], None], failed: Callable[[str], None]) -> OpenPort:
        raise NotImplementedError


class PaperLine:
    def __init__(self, ports: PaperPorts) -> None:
        self._ports = ports

    def read(self) -> bytes:
        return b"read"

    def write(self, data: bytes) -> None:
        assert data == b"written"

    def wake(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._ports.closed += 1


def test_a_port_is_one_windows_until_its_handle_is_closed() -> None:
    machine = PaperPorts()
    shared = SharedPorts(machine)
    one, two = shared.for_window("01"), shared.for_window("02")
    outcomes: list[Transport | PortError] = []
    listed: list[list[str]] = []

    one.open("COM2", True, False, outcomes.append)
    two.find(listed.append)
    one.find(listed.append)
    two.open("com2", True, False, outcomes.append)
    one.open("COM2", True, False, outcomes.append)
    line, *busy = outcomes
    assert not isinstance(line, PortError)
    assert listed == [["COM1"], ["COM1", "com2"]]
    assert [type(outcome) for outcome in busy] == [PortBusyError, PortBusyError]
    assert "窗口 01" in str(busy[0])
    assert line.read() == b"read"
    line.write(b"written")
    line.close()
    assert machine.closed == 1

    machine.broken.add("COM2")
    two.open("COM2", True, False, outcomes.append)
    assert type(outcomes[-1]) is PortError
    machine.broken.clear()
    one.open("COM2", True, False, outcomes.append)
    assert not isinstance(outcomes[-1], PortError), "what could not be opened is nobody's"


@pytest.mark.skipif(os.name == "nt", reason="a port that is a link is POSIX")
def test_a_link_that_leads_elsewhere_meanwhile_is_given_back(tmp_path: Path) -> None:
    """As /dev/haochaping-… does when the device is unplugged and plugged in again."""
    (tmp_path / "tty1").touch()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "tty1")
    shared = SharedPorts(PaperPorts())
    one, two = shared.for_window("01"), shared.for_window("02")
    outcomes: list[Transport | PortError] = []
    one.open(str(link), True, False, outcomes.append)
    two.open(str(tmp_path / "tty1"), True, False, outcomes.append)
    line, busy = outcomes
    assert isinstance(busy, PortBusyError)
    assert not isinstance(line, PortError)
    link.unlink()
    line.close()
    two.open(str(tmp_path / "tty1"), True, False, outcomes.append)
    assert not isinstance(outcomes[-1], PortError)


def test_the_watchdog_is_fed_when_every_loop_has_turned() -> None:
    fed: list[int] = []
    beats = _Beats(2)
    beats.beat = lambda: fed.append(1)
    one, two = beats.of(0), beats.of(1)
    for turned in (one, one, one):
        turned()
    assert fed == []
    two()
    assert fed == [1]
    two()
    two()
    assert fed == [1]
    one()
    assert fed == [1, 1]


def windows_running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("window ")]


def test_a_window_that_cannot_begin_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "data" / "window-02").mkdir(parents=True)
    (tmp_path / "data" / "window-02" / "agent.db").mkdir()
    with pytest.raises(AgentError):
        Running(read(tmp_path, FIRST.replace('password_file = "one.password"', "").replace("1919", "0") + SECOND))
    assert not windows_running()
    (tmp_path / "data" / "window-02" / "agent.db").rmdir()
    running = Running(read(tmp_path, FIRST.replace('password_file = "one.password"', "").replace("1919", "0") + SECOND))
    assert list(running.agents) == ["01", "02"]
    running.stop()
    running.run(lambda _url: None, lambda: None, lambda: None)
    assert not windows_running()


def test_two_windows_with_one_token_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "data", tmp_path / "data" / "window-02"):
        folder.mkdir()
        (folder / "api-token").write_text("t" * 32)
    with pytest.raises(AgentError, match=r"window-02.*give each its own"):
        Running(read(tmp_path, FIRST.replace('password_file = "one.password"', "") + SECOND))


def test_a_window_is_added_to_a_configuration_or_nothing_is_changed(tmp_path: Path) -> None:
    read(tmp_path, FIRST)
    file, secret = tmp_path / "agent.toml", tmp_path / "mqtt-02.password"
    assert add_window(file, further_window("02", "PJ-0002", "u 02"), "geheim") == [file, secret]
    second = each(load(file))[1]
    assert (second.device.id, second.mqtt.username, second.mqtt.password_file) == ("PJ-0002", "u 02", secret)
    assert secret.read_text() == "geheim"
    assert os.name == "nt" or secret.stat().st_mode & 0o077 == 0
    assert add_window(file, further_window("03", "PJ-0003", None), None) == [file]
    assert each(load(file))[2].mqtt.username == "533103/dating/01"
    assert file.read_text().endswith('\n[[windows]]\nwindow = "03"\ndevice = { id = "PJ-0003" }\n')

    before = file.read_text()
    for window, device, password in (("03", "PJ-0004", None), ("04", "PJ-0003", None), ("二", "PJ-0004", "x")):
        with pytest.raises(ConfigError):
            add_window(file, further_window(window, device, None), password)
    (tmp_path / "mqtt-04.password").write_text("another's")
    with pytest.raises(ConfigError, match="is there already, nothing was changed"):
        add_window(file, further_window("04", "PJ-0004", None), "x")
    with pytest.raises(ConfigError, match="--device"):
        further_window("05", "not an id", None)
    assert file.read_text() == before
    assert sorted(path.name for path in tmp_path.glob("*.password")) == ["mqtt-02.password", "mqtt-04.password"]


def test_a_window_that_fails_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(read(tmp_path, FIRST.replace('password_file = "one.password"', "").replace("1919", "0") + SECOND))

    def fails(_now: object) -> None:
        raise OSError("broken")

    stopped: list[bool] = []
    running.agents["02"]._post(fails)
    with pytest.raises(OSError, match="broken"):
        running.run(lambda _url: None, lambda: None, lambda: stopped.append(True))
    assert stopped == [True]


def test_of_several_windows_that_fail_each_is_ended(tmp_path: Path) -> None:
    third = '[[windows]]\nwindow = "03"\ndevice = { id = "PJ-0003" }\n'
    running = Running(read(tmp_path, FIRST.replace('password_file = "one.password"', "").replace("1919", "0") + SECOND + third))

    def fails(_now: object) -> None:
        raise OSError("broken")

    for window in ("02", "03"):
        running.agents[window]._post(fails)
    with pytest.raises(OSError, match="broken"):
        running.run(lambda _url: None, lambda: None, lambda: None)
    assert not windows_running()
