"""Chaos with real processes: half a minute of it comes out right, a spoiled collection is noticed, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from simulator.chaos.hall import Hall
from simulator.chaos.plan import KINDS
from simulator.chaos.run import Wish
from simulator.chaos.show import show
from simulator.postgresql import programs
from simulator.services import mosquitto
from tests.hall import ROOT, eventually

pytestmark = pytest.mark.e2e
LOSING = {"nats": {"broker killed, its data lost"}, "mosquitto": {"broker killed, its data lost", "broker killed"}}
"""What a broker has acknowledged and loses is sent again after a minute: right, and too long for every day."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simulator", "chaos", *arguments]


@pytest.mark.parametrize(("broker", "store"), [("nats", "sqlite"), ("mosquitto", "postgresql")])
def test_half_a_minute_of_everything_comes_out_right(tmp_path: Path, broker: str, store: str) -> None:
    if broker == "mosquitto" and mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    if store == "postgresql" and programs() is None:
        pytest.skip("PostgreSQL is not installed")
    faults = ",".join(kind.name for kind in KINDS if kind.name not in LOSING[broker])
    report = tmp_path / "report.html"
    options = ("--minutes", "0.5", "--seed", "3", "--broker", broker, "--store", store, "--faults", faults)
    ended = subprocess.run(
        command(*options, "--report", str(report)), cwd=ROOT, capture_output=True, text=True, timeout=115, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "丢失 lost 0 · 重复 doubled 0 · 被改 altered 0 · 对 right" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "对 right" in report.read_text(encoding="utf-8")


def test_a_row_that_the_collection_has_lost_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def lose_one(hall: Hall) -> None:
        with hall.reader().begin() as connection:
            connection.execute(sa.text("DELETE FROM records WHERE seq = (SELECT min(seq) FROM records WHERE kind = 'rating')"))

    assert show(Wish(5, 1, windows=1, kinds=("cable pulled",)), None, lose_one) == 1
    said = capsys.readouterr().out
    assert "press 1 of " in said
    assert "record 2 is not in the database" in said
    assert "丢失 lost 1" in said
    (kept,) = tmp_path.glob("haochaping-chaos-*")
    assert f"日志保留 logs are kept: {kept}" in said
    assert (kept / "collector.log").exists()


def test_ctrl_c_leaves_no_process_no_mount_and_no_folder(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--minutes", "5", "--store", "sqlite"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/bin"},
    )  # fmt: skip
    try:
        me = psutil.Process(process.pid)
        # broker, collector, two agents, two devices
        eventually("everything runs", lambda: len(me.children(recursive=True)) >= 6)
        time.sleep(2)  # into the faults, wherever that is
        children = me.children(recursive=True)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "已中止 interrupted" in said
    assert "Traceback" not in said
    assert not [child for child in children if child.is_running()]
    assert not list(tmp_path.iterdir())
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
