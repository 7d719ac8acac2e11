"""The built tree: the same bytes every time, and a device when a VM runs it from boot.py on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import FrameError
from protocol.framing import Frame, FrameDecoder, encode_frame
from protocol.messages import Hello, HelloAnswer, Message, RecordMessage, Start, Status, StatusRequest, parse_message
from protocol.record import Kind, Record, parse_record
from protocol.signing import verify_record
from tests.device_bench import DEVICE, KEY, write_identity
from tools.build_firmware import BuildFailed, build, firmware_version, main

pytestmark = pytest.mark.micropython

ROOT = Path(__file__).resolve().parents[2]
HELLO = Hello(version_min=1, version_max=1, schema_hash=0, session=7, window=8)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "firmware"
    build(out)
    return out


def test_the_same_sources_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "somewhere" / "else"
    build(again)
    build(again)
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == {
        path.relative_to(built): path.read_bytes() for path in built.rglob("*") if path.is_file()
    }


def test_the_manifest_tells_what_is_there(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["version"] == firmware_version()
    on_disk = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == on_disk
    for name, facts in manifest["files"].items():
        content = (built / name).read_bytes()
        assert facts == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {"main.py", "boot.py", "evaluator/device.mpy", "evaluator/fast.py", "boards/pico.py"} <= on_disk
    assert sum(facts["bytes"] for facts in manifest["files"].values()) < 64_000


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BuildFailed):
        build(tmp_path)
    assert main(["--out", str(tmp_path)]) == 1
    assert "was not built" in capsys.readouterr().err
    assert (tmp_path / "letter.txt").read_text() == "dear"


class VmBoard:
    """The built tree in a VM; its standard streams are the USB line."""

    def __init__(
        self, vm: str, built: Path, folder: Path, keys: int = 0, identity: bool = True, usb_address: int = 0, **settings: Any
    ) -> None:
        self.keys_file = folder / "keys"
        self.log_file = folder / "log"
        self.keys(keys)
        facts = write_identity(folder / "identity.json", volume=40, **settings)
        if not identity:
            facts.write_text("{}")
        self.process = subprocess.Popen(
            [vm, "-X", "heapsize=2M", str(Path(__file__).with_name("board_on_vm.py")), str(ROOT), str(built), str(facts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={"BOARD_KEYS": str(self.keys_file), "BOARD_LOG": str(self.log_file), "BOARD_USB_ADDRESS": str(usb_address)},
        )
        self._decoder = FrameDecoder()

    def keys(self, mask: int) -> None:
        fresh = self.keys_file.with_suffix(".new")
        fresh.write_text(str(mask))
        fresh.rename(self.keys_file)

    def log(self) -> list[str]:
        return self.log_file.read_text().splitlines() if self.log_file.exists() else []

    def until_logged(self, line: str) -> None:
        deadline = time.monotonic() + 20
        while line not in self.log():
            assert time.monotonic() < deadline, f"{line} is not in {self.log()}"
            assert self.process.poll() is None, self.rest()
            time.sleep(0.01)

    def rest(self) -> bytes:
        assert self.process.stdout
        return self.process.stdout.read()

    def say(self, message: Message, correlation: int) -> None:
        assert self.process.stdin
        self.process.stdin.write(encode_frame(message.frame(correlation)))

    def hear(self, count: int) -> list[Message]:
        """Return the next messages; nothing but frames may ever be on the line."""
        assert self.process.stdout
        heard: list[Message] = []
        while len(heard) < count:
            data = self.process.stdout.read(256)
            assert data, "the device has ended"
            for frame in self._decoder.feed(data):
                assert not isinstance(frame, FrameError), frame
                assert isinstance(frame, Frame)
                heard.append(parse_message(frame))
        return heard


@pytest.fixture
def board(micropython: str, built: Path, tmp_path: Path) -> Iterator[VmBoard]:
    started = VmBoard(micropython, built, tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


def test_one_press_from_the_pin_to_the_line(board: VmBoard) -> None:
    board.until_logged("watchdog 8000")
    assert [line for line in board.log() if "pull" in line] == [
        *[f"pin {pin} mode 0 pull 2" for pin in range(2, 7)],
        *[f"pin {pin} mode 1 pull 0" for pin in range(7, 13)],
        "pin 15 mode 0 pull 0",
    ] * 2
    board.keys(0b01000)
    board.until_logged("pin 7 = 1")
    board.keys(0)
    for tone in ("tone 1047 13107", "tone 1319 13107", "tone 1568 13107", "tone 1568 0"):
        board.until_logged(tone)
    lit = [line for line in board.log() if line.endswith("= 1")][:5]
    assert lit == [f"pin {pin} = 1" for pin in range(7, 12)], "all five, whichever was pressed"
    board.say(HELLO, 1)
    (answer,) = board.hear(1)
    assert isinstance(answer, HelloAnswer)
    assert (answer.device, answer.firmware, answer.next_seq, answer.capacity) == (DEVICE, firmware_version(), 3, 240)
    board.say(Start(next_seq=1), 2)
    records: list[Record] = []
    for message in board.hear(3)[1:]:
        assert isinstance(message, RecordMessage)
        records.append(parse_record(message.record))
        verify_record(KEY, records[-1], message.record)
    assert [(record.kind, record.level) for record in records] == [(Kind.BOOT, 0), (Kind.RATING, 2)]


@pytest.mark.parametrize("usb_address", [7, 0])
def test_lesson_12_a_mute_usb_port_is_reset_and_one_without_a_pc_is_not(
    micropython: str, built: Path, tmp_path: Path, usb_address: int
) -> None:
    board = VmBoard(micropython, built, tmp_path, usb_address=usb_address, mute_reset_min=0.025)  # 1.5 s
    try:
        board.until_logged("watchdog 8000")
        if usb_address:
            assert board.process.wait(20) == 3
            assert board.log()[-1] == "reset"
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                board.process.wait(4)
    finally:
        board.process.kill()
        board.process.communicate()


def test_control_c_on_the_line_ends_nothing(board: VmBoard) -> None:
    board.until_logged("watchdog 8000")
    assert board.process.stdin
    board.process.stdin.write(b"\x03\x03\r\n")
    board.say(HELLO, 1)
    board.say(StatusRequest(), 2)
    hello, status = board.hear(2)
    assert isinstance(hello, HelloAnswer)
    assert isinstance(status, Status)
    assert status.bad_frames == 1


@pytest.mark.parametrize(("keys", "provisioned"), [(0b10001, True), (0, False)])
def test_safe_mode_and_a_missing_identity_give_the_prompt_back_with_a_red_lamp(
    micropython: str, built: Path, tmp_path: Path, keys: int, provisioned: bool
) -> None:
    board = VmBoard(micropython, built, tmp_path, keys, provisioned)
    said, _ = board.process.communicate(timeout=20)
    assert said == f"PROMPT {not provisioned}\n".encode()
    assert board.process.returncode == 0
    assert [line for line in board.log() if "=" in line] == ["pin 12 = 1"]
    assert "watchdog 8000" not in board.log(), "it cannot be stopped again"
