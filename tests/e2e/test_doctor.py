"""`agent doctor` over faults that are really there: it names the cause and what to do, and says nothing is wrong where nothing is.

What cannot be had here is set: a clock (only the operating system's owner may set it), and what a running agent reports of times
that no test can wait for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.config import load
from host_agent.config_file import Answers, write
from host_agent.doctor import Finding, Grade, device, examine, place, running
from host_agent.store.database import FILE_NAME, Writer
from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import Hello, parse_message
from simulator.device.simulated import SimulatedDevice
from tests.agent_bench import hello_answer
from tests.brokers import HOST, Broker, free_port, mosquitto_available, start_mosquitto, start_nats
from tests.chains import HALL_KEY, WINDOW
from tests.disks import fill_up, small_disk
from tests.hall import Hall, eventually
from tests.secured import secured

if os.name == "nt":
    pytest.skip("the faults are made with pseudo-terminals", allow_module_level=True)
assert sys.platform != "win32"

pytestmark = pytest.mark.e2e


class Place:
    """A window PC with everything in order: device on its port, broker, configuration; a test breaks one thing."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.answers: dict[str, Any] = {"host": HOST, "port": broker.port, "device_port": str(folder / "port")}
        self.more = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def findings(self, report: dict[str, Any] | None = None) -> list[Finding]:
        file = self.folder / "agent.toml"
        file.unlink(missing_ok=True)
        write(file, Answers(WINDOW, **self.answers))
        file.write_text(file.read_text(encoding="utf-8").replace("[device] ", f"[device]\n{self.more}\n#"), encoding="utf-8")
        return list(examine(load(file), report))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = start_nats(tmp_path_factory.mktemp("broker"))
    yield made
    made.stop()


@pytest.fixture
def pc(tmp_path: Path, broker: Broker) -> Iterator[Place]:
    attached = SimulatedDevice(tmp_path, "PJ-0001", HALL_KEY, str(tmp_path / "port"))
    attached.plug_in()
    yield Place(tmp_path, broker)
    attached.close()


def test_where_nothing_is_wrong_nothing_is_said_to_be(pc: Place) -> None:
    found = pc.findings()
    assert [(finding.what, finding.grade) for finding in found if finding.grade is not Grade.OK] == [
        ("代理程序 agent", Grade.WARN)  # it does not run
    ]
    words = " ".join(finding.text for finding in found)
    assert "PJ-0001" in words
    assert WINDOW.path in words
    assert sorted(path.name for path in pc.folder.iterdir() if "agent" in path.name or path.name == "data") == ["agent.toml"]


# --- what is broken, and what has to be said of it ------------------------------------------------------------------

Break = Callable[[Place], Any]
BROKEN: dict[str, tuple[Break, str, Grade, str]] = {}


def broken(what: str, grade: Grade, says: str) -> Callable[[Break], Break]:
    def keep(function: Break) -> Break:
        BROKEN[function.__name__] = (function, what, grade, says)
        return function

    return keep


@broken("数据目录", Grade.FAIL, "check rights and disk")
def data_directory_is_a_file(pc: Place) -> None:
    pc.data.write_text("in the way")


@broken("磁盘", Grade.FAIL, "make room")
@contextmanager
def disk_is_full(pc: Place) -> Iterator[None]:
    with small_disk(pc.data):
        fill_up(pc.data)
        yield


@broken("数据库", Grade.FAIL, "start the agent again: it begins a new one")
def database_is_damaged(pc: Place) -> None:
    Writer(pc.data).close()
    content = bytearray((pc.data / FILE_NAME).read_bytes())
    content[4096:12288] = os.urandom(8192)
    (pc.data / FILE_NAME).write_bytes(content)


@broken("数据库", Grade.WARN, "take its records back: agent db repair: agent.db.damaged-20261123T000000Z")
def database_was_damaged_before(pc: Place) -> None:
    pc.data.mkdir()
    (pc.data / "agent.db.damaged-20261123T000000Z").touch()


@broken("本机时钟", Grade.FAIL, "cannot be right: set it")
@contextmanager
def clock_is_in_1970(_pc: Place) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "now_ms", lambda: 3_600_000)
        yield


@broken("本机时钟", Grade.WARN, "records came in later than that")
def clock_was_set_back(pc: Place) -> None:
    writer = Writer(pc.data)
    with writer.transaction() as connection:
        connection.execute(
            "INSERT INTO records (device, seq, mac, raw, received_ms, replayed, state) VALUES ('PJ-0001', 1, x'00', x'00', ?, 0, 0)",
            (int(time.time() * 1000) + 86_400_000,),
        )
    writer.close()


@broken("评价器串口", Grade.WARN, "does not exist: check the cable")
def port_is_not_there(pc: Place) -> None:
    pc.answers["device_port"] = "/dev/ttyACM77"


@broken("评价器串口", Grade.WARN, "no USB serial port is there")
@contextmanager
def no_port_at_all(pc: Place) -> Iterator[None]:
    pc.answers["device_port"] = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "list_candidates", list)  # whatever this machine has
        yield


HOLDER = """
import serial, sys
port = serial.Serial(sys.argv[1], exclusive=True)
print("open", flush=True)
sys.stdin.read()
"""


@broken("评价器", Grade.FAIL, "is held by another program; close that program: python (pid ")
@contextmanager
def port_is_held(pc: Place) -> Iterator[None]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, pc.answers["device_port"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    try:
        yield
    finally:
        holder.communicate()


@broken("评价器", Grade.FAIL, "nobody answers there")
@contextmanager
def nobody_at_the_port(pc: Place) -> Iterator[None]:
    import tty

    master, slave = os.openpty()
    tty.setraw(slave)
    pc.answers["device_port"] = os.ttyname(slave)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "ANSWER_S", 0.8)
        yield
    os.close(slave)
    os.close(master)


@broken("评价器", Grade.FAIL, "this window expects PJ-0009: swap them back")
def another_device(pc: Place) -> None:
    pc.more = 'id = "PJ-0009"'


@contextmanager
def speaking(pc: Place, version: int) -> Iterator[None]:
    with answering(version=version, version_min=version, version_max=version) as port:
        pc.answers["device_port"] = f"socket://{HOST}:{port}"
        yield


@broken("评价器", Grade.FAIL, "the device's firmware is older than this agent")
def firmware_is_too_old(pc: Place) -> Any:
    return speaking(pc, 0)


@broken("评价器", Grade.FAIL, "this agent is older than the device's firmware")
def agent_is_too_old(pc: Place) -> Any:
    return speaking(pc, 9)


@broken("消息服务器", Grade.FAIL, "check mqtt.host and this PC's DNS")
def broker_name_is_not_known(pc: Place) -> None:
    pc.answers["host"] = "no-such-broker.invalid"


@broken("消息服务器", Grade.FAIL, "is the broker running, and is mqtt.port right?")
def broker_does_not_run(pc: Place) -> None:
    pc.answers["port"] = free_port()


@broken("消息服务器", Grade.FAIL, "does that port speak TLS")
def broker_speaks_no_tls(pc: Place) -> None:
    pc.answers["tls"] = True


@broken("消息服务器", Grade.FAIL, "name the CA that issued it in mqtt.ca_file")
@contextmanager
def certificate_is_not_trusted(pc: Place) -> Iterator[None]:
    with secured("mosquitto", pc.folder / "secured") as site:
        pc.answers |= {"port": site.broker.port, "tls": True}
        yield


@broken("登录与权限", Grade.FAIL, "check mqtt.username and mqtt.password_file")
@contextmanager
def password_is_wrong(pc: Place) -> Iterator[None]:
    with secured("mosquitto", pc.folder / "secured") as site:
        pc.answers |= {"port": site.broker.port, "ca_file": str(site.authority.ca), "username": WINDOW.path}
        (pc.folder / "mqtt.password").unlink(missing_ok=True)
        pc.answers["password"] = "not-this"
        yield


@broken("登录与权限", Grade.FAIL, "ended the connection without an answer")
@contextmanager
def tls_is_wanted(pc: Place) -> Iterator[None]:
    with secured("mosquitto", pc.folder / "secured") as site:
        pc.answers["port"] = site.broker.port
        yield


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_the_cause_is_named_and_what_to_do(pc: Place, name: str) -> None:
    if not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    breaks, what, grade, says = BROKEN[name]
    with ExitStack() as stack:
        made = breaks(pc)
        if made is not None:
            stack.enter_context(made)
        found = pc.findings()
    about = [finding for finding in found if finding.what.split()[0] == what]
    assert any(finding.grade is grade and says in finding.text for finding in about), found
    others = [finding for finding in found if finding.grade is Grade.FAIL and finding.what.split()[0] != what]
    assert not others, "one fault is not told as another"


@contextmanager
def answering(**more: Any) -> Iterator[int]:
    """Be a device that answers hello in its own way; the TCP port."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            connected, _ = server.accept()
            decoder = FrameDecoder()
            with connected:
                while data := connected.recv(4096):
                    for frame in decoder.feed(data):
                        assert isinstance(frame, Frame)
                        asked = parse_message(frame)
                        assert isinstance(asked, Hello)
                        answer = hello_answer(session=asked.session, **more)
                        connected.sendall(encode_frame(answer.frame(frame.correlation)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
    thread.join(5)


# --- beside a running agent -----------------------------------------------------------------------------------------


def test_beside_a_running_agent_it_tells_what_that_one_meets_and_disturbs_nothing(tmp_path: Path) -> None:
    if not mosquitto_available():
        pytest.skip("mosquitto is not installed")
    with Hall(tmp_path, start_mosquitto(tmp_path / "broker")) as hall:
        hall.start()
        hall.device.press(0)
        hall.await_released()
        assert (code_and_words(hall))[0] == 0
        hall.device.unplug()
        eventually("it has noticed", lambda: hall.status()["link"] != "talking")
        code, words = code_and_words(hall)
        assert code == 2
        assert "check the cable" in words
        hall.device.plug_in()
        hall.await_talking()
        hall.broker.kill()
        eventually("it has noticed", lambda: not hall.status()["broker_connected"])
        code, words = code_and_words(hall)
        assert code == 2
        assert "is the broker running" in words
        hall.broker.start()
        hall.await_talking()
        counters = hall.status()["counters"]
        assert counters.get("another_device", 0) == 0


def code_and_words(hall: Hall) -> tuple[int, str]:
    told = CliRunner().invoke(cli.app, ["doctor", "-c", str(hall.agent.config)], catch_exceptions=False)
    return told.exit_code, " ".join(told.output.split())


REPORT: dict[str, Any] = {
    "agent": "1",
    "link": "talking",
    "port": "COM3",
    "link_trouble": None,
    "device_trouble": None,
    "device": "PJ-0001",
    "firmware": "1",
    "conditions": [],
    "clock_ahead_ms": -40,
    "clock_ppm": 30,
    "journal_free": 1000,
    "database_bytes": 49152,
    "database_most_bytes": 256_000_000,
    "broker_connected": True,
    "broker_trouble": None,
    "store_trouble": None,
    "outbox_to_send": 0,
    "outbox_sent": 0,
    "oldest_waiting_ms": None,
}


@pytest.mark.parametrize(
    ("said", "grade", "words"),
    [
        ({"conditions": ["key_stuck"]}, Grade.WARN, "key_stuck; call the technician"),
        ({"clock_ahead_ms": -9000}, Grade.WARN, "its clock is -9.0 s from this PC's"),
        ({"clock_ppm": 151}, Grade.WARN, "call the technician"),
        ({"journal_free": 3}, Grade.WARN, "room for few records"),
        ({"database_bytes": 300_000_000, "outbox_to_send": 1}, Grade.WARN, "is more than max_database_mb = 256"),
        ({"outbox_sent": 4, "oldest_waiting_ms": running.RECEIPT_WITHIN_MS + 1}, Grade.FAIL, "does the collector run"),
        ({"broker_trouble": "thrown off"}, Grade.WARN, "thrown off"),
        ({"store_trouble": "disk full"}, Grade.FAIL, "disk full"),
        ({"link": "refused", "link_trouble": "too old"}, Grade.FAIL, "too old"),
        ({"device_trouble": "swap them back"}, Grade.FAIL, "swap them back"),
    ],
)
def test_what_a_running_agent_says(said: dict[str, Any], grade: Grade, words: str) -> None:
    found = [*running.device(REPORT | said), *running.delivery(REPORT | said)]
    assert [(finding.grade, words in finding.text) for finding in found if finding.grade is not Grade.OK] == [(grade, True)]
    assert all(finding.grade is Grade.OK for finding in [*running.device(REPORT), *running.delivery(REPORT)])


def test_an_agent_that_runs_and_does_not_answer(pc: Place) -> None:
    writer = Writer(pc.data)
    found = {finding.what: finding for finding in pc.findings()}
    writer.close()
    assert found["代理程序 agent"].grade is Grade.FAIL
    assert "start it again" in found["代理程序 agent"].text
