"""What is particular to Windows in the agent, asked of a real Windows Python: rights, a log that is held open, libraries."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.windows.pc import ROOT
from tools.windows import build, interpreter
from tools.windows.wine import Wine, there

pytestmark = [pytest.mark.windows, pytest.mark.timeout(600)]

HELD_LOG = """
import logging, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from host_agent.service import log_file
folder = Path(sys.argv[2])
handler = log_file.RotatingFile(folder / "agent.log", most_bytes=1000, older=2)
log = logging.getLogger("held")
log.addHandler(handler)
log.propagate = False

def lines(first):
    for number in range(first, first + 20):
        log.error("行 %03d %s", number, 90 * "x")

lines(0)
with open(folder / "agent.log", encoding="utf-8"):  # as a viewer does, on Windows
    lines(20)
handler._not_before_s = 0.0  # a minute later
lines(40)
logging.shutdown()
"""


def run(windows: Wine, python: Path, scratch: Path, script: str, *words: str) -> str:
    file = scratch / "script.py"
    file.write_text(script, encoding="utf-8")
    done = windows.run(python, there(file), there(ROOT), *words, PYTHONUTF8="1")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_log_that_somebody_holds_open_loses_no_line_and_no_older_file(windows: Wine, python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    run(windows, python, tmp_path, HELD_LOG, there(folder))
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert sorted(files) == ["agent.log", "agent.log.1", "agent.log.2"]
    # of the lines before, the held file begins with the last ones; nothing after them is missing
    kept = [int(number) for number in re.findall(r"行 (\d+)", files["agent.log.2"] + files["agent.log.1"] + files["agent.log"])]
    assert kept == list(range(kept[0], 60))
    assert len(kept) < 60, "it is bounded"
    assert all(len(text) < 1000 + 120 for text in (files["agent.log"], files["agent.log.1"]))


def test_ordinary_users_are_given_no_right(windows: Wine, python: Path, tmp_path: Path) -> None:
    script = """
import sys
sys.path.insert(0, sys.argv[1])
import win32security as w
from host_agent.service import windows_rights as rights
for text in (rights.READS, rights.CHANGES, rights.READS_FILE):
    descriptor = w.ConvertStringSecurityDescriptorToSecurityDescriptor(text, 1)
    assert descriptor.GetSecurityDescriptorControl()[0] & w.SE_DACL_PROTECTED, "nothing comes from above"
    entries = descriptor.GetSecurityDescriptorDacl()
    for number in range(entries.GetAceCount()):
        (kind, flags), mask, who = entries.GetAce(number)
        print(kind, flags, hex(mask), w.ConvertSidToStringSid(who))
    print()
"""
    everything, read, change = "0x1f01ff", "0x1200a9", "0x1301bf"
    assert [part.splitlines() for part in run(windows, python, tmp_path, script).strip().split("\n\n")] == [
        [f"0 {flags} {everything} S-1-5-18", f"0 {flags} {everything} S-1-5-32-544", f"0 {flags} {service} S-1-5-19"]
        for flags, service in ((3, read), (3, change), (0, read))
    ]


def test_the_program_brings_every_library_that_a_new_windows_has_not(windows: Wine) -> None:
    program = build.program(windows)
    there_are = {path.name.lower() for path in program.rglob("*")}
    wanted: set[str] = set()
    for file in (*program.rglob("*.pyd"), *program.rglob("*.dll"), *program.glob("*.exe")):
        told = subprocess.run([interpreter.DUMP, "-p", str(file)], capture_output=True, text=True, check=True).stdout
        wanted |= {name.lower() for name in re.findall(r"DLL Name: (\S+)", told)}
    assert "vcruntime140_1.dll" in wanted, "pywin32 is made with it"
    ours = {name for name in wanted if re.match(r"vcruntime|msvcp|python|pywintypes|lib|sqlite3", name)}
    assert ours - there_are == set()
    assert "bcryptprimitives.dll" not in there_are, "that is Windows's own"


ARRIVALS = """
import queue, sys, threading, winreg
sys.path.insert(0, sys.argv[1])
from host_agent.link import arrivals
told = queue.SimpleQueue()
end = arrivals.watch(lambda: told.put(1))
for number in (1, 2):  # the key itself is made with the first port
    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, arrivals.DEVICE_MAP + chr(92) + "SERIALCOMM") as key:
        winreg.SetValueEx(key, "Serial7%d" % number, 0, winreg.REG_SZ, "COM7%d" % number)
    told.get(timeout=30)
    print("told")
(thread,) = [one for one in threading.enumerate() if one.name == "arrivals"]
end()
thread.join(30)
print("ended", not thread.is_alive())
"""


def test_a_port_that_comes_is_told_of(windows: Wine, python: Path, tmp_path: Path) -> None:
    assert run(windows, python, tmp_path, ARRIVALS).splitlines() == ["told", "told", "ended True"]


POWER = """
import sys, winreg
sys.path.insert(0, sys.argv[1])
from host_agent.doctor import usb

def put(path, name, value, kind):
    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
        winreg.SetValueEx(key, name, 0, kind, value)

scheme = "381b4222-f694-41f0-9685-ff5bb260df2e"
put(usb._SCHEMES, "ActivePowerScheme", scheme, winreg.REG_SZ)
print([finding.grade.name for finding in usb.power("COM5", None)])
setting = chr(92).join((usb._SCHEMES, scheme, usb._USB, usb._SELECTIVE_SUSPEND))
for value in (1, 0):
    put(setting, "ACSettingIndex", value, winreg.REG_DWORD)
    print([(finding.grade.name, "powercfg" in finding.text) for finding in usb.power("COM5", None)])
with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, usb._SCHEMES) as key:
    winreg.DeleteValue(key, "ActivePowerScheme")
print(list(usb.power("COM5", None)))
"""


def test_the_energy_plan_is_read_as_windows_keeps_it(windows: Wine, python: Path, tmp_path: Path) -> None:
    assert run(windows, python, tmp_path, POWER).splitlines() == ["['WARN']", "[('WARN', True)]", "[('OK', False)]", "[]"]
