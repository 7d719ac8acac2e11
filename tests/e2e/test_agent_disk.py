"""What becomes of the agent's data: deleted, damaged, on a disk that cannot be written. The real device gives it all again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_agent.store.database import FILE_NAME
from tests.brokers import Broker, free_port
from tests.disks import fill_up, small_disk
from tests.hall import Hall, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Hall]:
    """A device and an agent that has taken 6 records (boot and 5 presses); nobody has given a receipt."""
    with Hall(tmp_path, Broker("none", [], free_port(), tmp_path / "none.log")) as hall:
        hall.device.plug_in()
        for button in range(5):
            hall.device.press(button)
        hall.agent.start()
        eventually("all of it is here", lambda: hall.status()["outbox_to_send"] == 6)
        yield hall


def test_a_database_deleted_while_the_agent_was_off_is_filled_again_by_the_device(lone: Hall) -> None:
    lone.agent.stop()
    shutil.rmtree(lone.data_dir)
    lone.agent.start()
    eventually("all of it is here again", lambda: lone.status()["outbox_to_send"] == 6)


def test_a_database_damaged_while_the_agent_was_off_is_put_aside_told_and_filled_again(lone: Hall) -> None:
    lone.agent.stop()
    file = lone.data_dir / FILE_NAME
    content = bytearray(file.read_bytes())
    content[4096:8192] = os.urandom(4096)
    file.write_bytes(content)
    lone.agent.start()
    eventually("all of it is here again", lambda: lone.status()["outbox_to_send"] == 6)
    (aside,) = lone.status()["databases_set_aside"]
    assert (lone.data_dir / aside).read_bytes() == bytes(content)
    assert f"移至 {aside}" in lone.agent.log.read_text(encoding="utf-8")


def test_a_database_damaged_while_the_agent_runs_costs_one_restart_and_no_record(lone: Hall) -> None:
    process = lone.agent.process
    assert process is not None
    file = lone.data_dir / FILE_NAME
    for name in (file, file.with_name(FILE_NAME + "-wal"), file.with_name(FILE_NAME + "-shm")):
        with name.open("r+b") as spoiled:
            size = name.stat().st_size
            spoiled.write(os.urandom(size))
    for button in range(5):
        lone.device.press(button)
    assert eventually("it ends by itself", process.poll) == 1
    log = lone.agent.log.read_text(encoding="utf-8")
    assert "start the agent again" in log
    assert "Traceback" not in log
    lone.agent.kill()
    lone.agent.start()
    eventually("all of it is here again", lambda: lone.status()["outbox_to_send"] == 11)
    assert len(lone.status()["databases_set_aside"]) == 1


def test_a_disk_that_is_full_at_the_start_is_told_for_what_it_is(tmp_path: Path) -> None:
    with small_disk(tmp_path / "agent"), Hall(tmp_path, Broker("none", [], free_port(), tmp_path / "none.log")) as hall:
        filler = fill_up(hall.data_dir)
        code, said = hall.agent.refused()
        assert code == 1
        assert "check disk space" in said
        assert "Traceback" not in said
        filler.unlink()
        hall.device.plug_in()
        hall.device.press(0)
        hall.agent.start()
        eventually("it works", lambda: hall.status()["outbox_to_send"] == 2)


def test_a_read_only_disk_is_told_and_when_it_can_be_written_nothing_is_missing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "agent"), Hall(tmp_path, Broker("none", [], free_port(), tmp_path / "none.log")) as hall:
        hall.device.plug_in()
        hall.device.press(0)
        hall.agent.start()
        eventually("it works", lambda: hall.status()["outbox_to_send"] == 2)
        hall.agent.stop()

        def remount(how: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{how}", str(hall.data_dir)], check=True)

        remount("ro")
        hall.device.press(4)
        code, said = hall.agent.refused()
        assert code == 1
        assert "check data_dir and its permissions" in said
        assert "Traceback" not in said
        remount("rw")
        hall.agent.start()
        eventually("nothing is missing", lambda: hall.status()["outbox_to_send"] == 3)
