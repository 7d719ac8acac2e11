"""Whether a device is put to sleep: read from a folder that is laid out as the kernel does it, for no USB device is here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from host_agent.doctor import usb
from host_agent.doctor.finding import Grade
from host_agent.service.linux import RULES_TEXT

if os.name == "nt":
    pytest.skip("sysfs is Linux'", allow_module_level=True)
assert sys.platform != "win32"

TALKING: dict[str, Any] = {"link": "talking", "counters": {"records": 5}}


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/sys of a PC with a Pico on ttyACM0, and a serial port of its own; the folder of the Pico."""
    device = tmp_path / "devices" / "pci0" / "usb1" / "1-1"
    interface = device / "1-1:1.0"
    (interface / "tty" / "ttyACM0").mkdir(parents=True)
    (device / "idVendor").write_text("2e8a\n")
    (device / "power").mkdir()
    (device / "power" / "control").write_text("auto\n")
    own = tmp_path / "devices" / "pnp0"
    (own / "tty" / "ttyS0").mkdir(parents=True)
    ports = tmp_path / "class" / "tty"
    for name, parent in (("ttyACM0", interface), ("ttyS0", own)):
        (ports / name).mkdir(parents=True)
        (ports / name / "device").symlink_to(parent)
    monkeypatch.setattr(usb, "SYSFS", tmp_path)
    return device


@pytest.mark.usefixtures("sysfs")
@pytest.mark.parametrize("port", ["/dev/ttyS0", "/dev/ttyACM7", "socket://127.0.0.1:1", None])
def test_of_a_port_that_is_on_no_usb_nothing_is_said(port: str | None) -> None:
    assert list(usb.power(port, None)) == []


@pytest.mark.usefixtures("sysfs")
@pytest.mark.parametrize(
    ("report", "grade"),
    [
        (TALKING, Grade.OK),
        (TALKING | {"link": "silent"}, Grade.WARN),
        (TALKING | {"counters": {"silences": 1}}, Grade.WARN),
        (TALKING | {"counters": {"line_silences": 2}}, Grade.WARN),
        (None, Grade.WARN),
    ],
)
def test_it_is_worth_a_warning_where_the_line_has_had_trouble(report: dict[str, Any] | None, grade: Grade) -> None:
    (finding,) = usb.power("/dev/ttyACM0", report)
    assert finding.grade is grade
    assert ("install the udev rule" in finding.text) == (grade is Grade.WARN)


def test_what_is_off_is_good_and_what_cannot_be_read_is_not_told(sysfs: Path) -> None:
    (sysfs / "power" / "control").write_text("on\n")
    (finding,) = usb.power("/dev/ttyACM0", None)
    assert (finding.grade, finding.text) == (Grade.OK, "已关闭 off")
    (sysfs / "power" / "control").unlink()
    assert list(usb.power("/dev/ttyACM0", None)) == []


def test_our_rule_turns_it_off() -> None:
    assert 'TEST=="power/control", ATTR{power/control}="on"' in RULES_TEXT
