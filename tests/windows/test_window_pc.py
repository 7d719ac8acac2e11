"""A window PC with Windows from its first setup.exe to its last uninstall.exe: nothing is lost, and no trace is left.

Wine stands for Windows: service manager, COM ports, registry and file system are its, program and installer are what is given
away. What it cannot show is listed in docs/windows.md. One long test, because a PC has one life: each part begins where the
last one has left it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlite_utils import Database

from host_agent.service.windows_names import NAME
from host_agent.store.database import FILE_NAME
from host_agent.store.schema import migrations
from tests.brokers import start_nats
from tests.hall import Hall, eventually
from tests.windows.pc import AGENT, DATA, MARKER, PROGRAM, Setups, WindowPC, commands, prepare
from tools.windows.wine import Wine

pytestmark = [pytest.mark.windows, pytest.mark.timeout(600)]

SHARE = r"\\server\haochaping\%COMPUTERNAME%"
INIT = f'"{AGENT}" init --area 533103 --hall dating --window 07 --broker mqtt.example'
ELSEWHERE = r"C:\Hall 1\agent.toml"
UNINSTALL = rf'"{PROGRAM}\uninstall.exe" /S'


def test_another_windows_is_refused_before_anything_is_put_there(windows: Wine, setups: Setups) -> None:
    windows.be("win7")
    try:
        assert windows.run(setups.now, "/S").returncode == 2
        assert not windows.here(PROGRAM).exists()
    finally:
        windows.be("win10")


def test_a_program_that_cannot_be_run_is_not_put_there(windows: Wine, setups: Setups) -> None:
    assert windows.run(setups.blocked, "/S").returncode == 5
    assert [path.name for path in windows.here(PROGRAM).iterdir()] == ["setup.log"]


def test_a_window_pc_from_setup_to_uninstall(windows: Wine, setups: Setups, tmp_path: Path) -> None:
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as hall:
        hall.collector.start()
        hall.device.plug_in()
        pc = WindowPC(windows, hall)
        the_first_rating(pc, setups)
        a_cable_is_pulled_and_put_back(pc)
        an_upgrade_with_ratings_on_the_way_and_a_database_of_the_version_before(pc, setups, tmp_path)
        a_program_that_does_not_start_is_taken_back_also_with_a_configuration_elsewhere(pc, setups)
        a_kill(pc)
        off_and_on_again(pc)
        removal_keeps_what_is_there_and_a_prepared_configuration_does_not_replace_it(pc, setups, tmp_path)
        a_purge_keeps_what_is_not_collected(pc, setups)
        nothing_is_left(pc)
        many_pcs_with_a_chinese_folder(pc, setups, tmp_path)
        assert pc.typed == set(commands()), "every command of the page"


def the_first_rating(pc: WindowPC, setups: Setups) -> None:
    hall = pc.hall
    pc.type("setup.exe /S", {"setup.exe": str(setups.earlier)})
    assert not pc.is_installed(), "there is no configuration yet"
    broker = f"127.0.0.1:{hall.broker.port} --device-port COM5"
    pc.type(INIT, {"mqtt.example": broker})
    config = pc.home / "agent.toml"
    text = config.read_text(encoding="utf-8")
    assert "#port = 17610" in text
    config.write_text(text.replace("#port = 17610", "port = 0"), encoding="utf-8")  # on this machine it may be in use
    pc.type(f'"{AGENT}" config check', {})
    pc.type(f'"{AGENT}" service install', {})
    assert pc.type(f'"{AGENT}" service status', {}).strip() == "active"
    pc.await_talking()
    assert "已连接 connected" in pc.type(f'"{AGENT}" status', {}), "in the characters of code page 936"
    assert "失败" not in pc.type(f'"{AGENT}" doctor', {})
    evaluation = hall.open("C-1", staff="017")
    hall.device.press(3)
    assert hall.ended(evaluation) == "rated"
    (rating,) = hall.await_collected(1)
    assert (rating["level"], rating["staff"], rating["case_matches"]) == ("dissatisfied", "017", True)
    assert (pc.data / f"{FILE_NAME}-wal").stat().st_size > 0
    hall.await_released()
    assert "端口中断" not in pc.log(), "a port on which nothing comes is a good port"
    assert "C-1" not in pc.log()
    assert "dissatisfied" not in pc.log()


def a_cable_is_pulled_and_put_back(pc: WindowPC) -> None:
    hall = pc.hall
    evaluation = hall.open("C-2", timeout_s=600)
    hall.device.unplug()
    eventually("the agent notices", lambda: hall.status()["link"] != "talking")
    hall.device.press(0)
    hall.device.plug_in()
    assert hall.ended(evaluation) == "rated"
    assert hall.await_collected(2)[-1]["case"] == {"case_no": "C-2"}


def an_upgrade_with_ratings_on_the_way_and_a_database_of_the_version_before(
    pc: WindowPC, setups: Setups, scratch: Path
) -> None:
    hall = pc.hall
    hall.broker.stop()
    hall.device.press(1)
    hall.device.press(2)
    eventually("they wait in the database", lambda: hall.status()["outbox_to_send"] >= 2)
    pc.type(f'"{AGENT}" service stop', {})
    assert pc.processes() == []
    hall.device.press(3)  # this one waits in the device
    hall.broker.start()
    make_earlier(pc.data / FILE_NAME, scratch)
    assert (pc.program / "program" / "_internal" / MARKER).exists()
    assert pc.setup(setups.now).returncode == 0, pc.setup_log()
    assert not (pc.program / "program" / "_internal" / MARKER).exists(), "nothing of the version before is mixed in"
    assert sorted(path.name for path in pc.program.iterdir()) == ["program", "setup.log", "uninstall.exe"]
    assert steps(pc.data / FILE_NAME) == names(), "the database is of this version"
    pc.await_talking()
    assert [rating["level"] for rating in hall.await_collected(5)[2:]] == ["satisfied", "basically_satisfied", "dissatisfied"]
    hall.await_released()


def a_program_that_does_not_start_is_taken_back_also_with_a_configuration_elsewhere(pc: WindowPC, setups: Setups) -> None:
    standard, elsewhere = pc.home / "agent.toml", pc.windows.here(ELSEWHERE)
    elsewhere.parent.mkdir()
    text = standard.read_text(encoding="utf-8")
    assert 'data_dir = "data"' in text
    elsewhere.write_text(text.replace('data_dir = "data"', rf"data_dir = '{DATA}\data'"), encoding="utf-8")
    standard.unlink()
    pc.agent("service", "install", "--config", ELSEWHERE)
    assert pc.setup(setups.broken).returncode == 5, pc.setup_log()
    assert (pc.program / "program" / "_internal" / "win32" / "servicemanager.pyd").exists()
    assert pc.agent("service", "status").strip() == "active"
    pc.await_talking()
    pc.hall.device.press(4)
    assert pc.hall.await_collected(6)[-1]["level"] == "very_dissatisfied"


def a_kill(pc: WindowPC) -> None:
    (number,) = pc.processes()
    os.kill(number, 9)
    pc.hall.device.press(0)
    eventually("it is gone", lambda: not pc.processes())
    # wine's service manager does not start it again; that is to be seen on a real PC
    pc.type("net start HaochapingAgent", {})
    pc.await_talking()
    pc.hall.await_collected(7)


def off_and_on_again(pc: WindowPC) -> None:
    pc.windows.off()
    assert pc.processes() == []
    pc.hall.device.press(1)
    pc.windows.boot()
    eventually("it starts by itself", pc.processes)
    pc.await_talking()
    pc.hall.await_collected(8)
    pc.hall.await_released()


def removal_keeps_what_is_there_and_a_prepared_configuration_does_not_replace_it(
    pc: WindowPC, setups: Setups, scratch: Path
) -> None:
    pc.type(UNINSTALL, {})
    eventually("it is gone", lambda: not pc.program.exists())
    shutil.move(pc.windows.here(ELSEWHERE), pc.home)
    assert not pc.is_installed()
    assert pc.processes() == []
    kept = (pc.home / "agent.toml").read_bytes()
    with sqlite3.connect(pc.data / FILE_NAME) as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    connection.close()
    prepared = prepare(scratch / "other", pc.hall, "数据")
    assert pc.setup(setups.now, f"/CONFIG={prepared}").returncode == 0, pc.setup_log()
    assert (pc.home / "agent.toml").read_bytes() == kept
    pc.await_talking()
    pc.hall.device.press(2)
    pc.hall.await_collected(9)


def a_purge_keeps_what_is_not_collected(pc: WindowPC, setups: Setups) -> None:
    hall, look = pc.hall, f'"{AGENT}" db waiting'
    hall.await_released()
    assert "everything is collected" in pc.type(look, {})
    hall.broker.stop()
    hall.device.press(3)
    eventually("it waits in the database", lambda: hall.status()["outbox_to_send"] == 1)
    assert "1 条记录尚未归集" in pc.type(look, {}, expect=2)
    pc.type(f"{UNINSTALL} /PURGE", {})
    eventually("it is gone", lambda: not pc.program.exists())
    assert "1 条记录尚未归集" in (pc.home / "uninstall.log").read_text(encoding="utf-16")
    hall.broker.start()
    assert pc.setup(setups.now).returncode == 0, pc.setup_log()
    pc.await_talking()
    assert hall.await_collected(10)[-1]["level"] == "dissatisfied"
    hall.await_released()


def nothing_is_left(pc: WindowPC) -> None:
    pc.type(f"{UNINSTALL} /PURGE", {})
    eventually("it is gone", lambda: not pc.program.exists() and not pc.home.exists())
    assert not pc.is_installed()
    assert pc.processes() == []
    for key in (
        r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall\Haochaping",
        r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\HaochapingAgent",
    ):
        assert pc.windows.run("reg", "query", key).returncode != 0, key


def many_pcs_with_a_chinese_folder(pc: WindowPC, setups: Setups, scratch: Path) -> None:
    """A new PC at the same window, its configuration from a share: the device gives it what it needs."""
    pc.keeps_data_in("数据")
    prepared = prepare(scratch / "某电脑", pc.hall, "数据")
    pc.type(f"setup.exe /S /CONFIG={SHARE}", {"setup.exe": str(setups.now), SHARE: prepared})
    pc.await_talking()
    pc.hall.device.press(3)
    pc.hall.await_collected(11)
    pc.hall.await_released()
    assert (pc.data / f"{FILE_NAME}-wal").exists()
    assert "hunter2" not in pc.log() + pc.setup_log()
    assert pc.windows.run("net", "stop", NAME).returncode == 0
    eventually("it stops in time, also for a shutdown", lambda: not pc.processes(), within_s=3.0)
    pc.type(f"{UNINSTALL} /PURGE", {})
    eventually("it is gone", lambda: not pc.program.exists() and not pc.home.exists())


def names() -> list[str]:
    return [migration.name for migration in migrations.pending(Database(memory=True))]


def steps(file: Path) -> list[str]:
    connection = sqlite3.connect(file)
    try:
        return [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY name")]
    finally:
        connection.close()


def make_earlier(file: Path, scratch: Path) -> None:
    """Have a database be what the version before this one would have made of the same ratings."""
    earlier = scratch / "earlier.db"
    connection = sqlite3.connect(earlier, isolation_level=None)
    database = Database(connection)
    migrations.apply(database, stop_before=names()[-1])
    connection.execute("ATTACH ? AS newer", (str(file),))
    for table in ("records", "devices", "evaluations", "facts", "sqlite_sequence"):
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  # the names are those above
        connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}")  # noqa: S608  # as above
    connection.close()
    assert steps(earlier) == names()[:-1]
    for path in file.parent.glob(f"{file.name}-*"):
        path.unlink()
    shutil.copy(earlier, file)
