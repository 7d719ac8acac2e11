"""The identity file: replaced whole or not at all, and counting journals so that no number comes twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from firmware.evaluator.device import Device
from firmware.evaluator.identity import Identity, NotProvisioned
from simulator.device.in_process import BenchBoard, BenchDevice
from simulator.hardware.flash import MemoryFlash
from tests.device_bench import DEVICE, KEY, Host, write_identity


def test_the_facts_are_those_of_the_technician(tmp_path: Path) -> None:
    identity = Identity(str(write_identity(tmp_path / "identity.json", change_ms=2000)))
    assert (identity.device, identity.key, identity.settings) == (DEVICE.encode(), KEY, {"change_ms": 2000})


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        '{"device": "PJ-0001", "key": "00", "journals": 0}',
        '{"device": "", "key": "%s", "journals": 0}' % ("00" * 32),
        '{"device": "12345678901234567", "key": "%s", "journals": 0}' % ("00" * 32),
        '{"device": 7, "key": "%s", "journals": 0}' % ("00" * 32),
        '{"device": "PJ-0001", "key": "%s", "journals": null}' % ("00" * 32),
        '{"device": "PJ-0001", "key": "%s", "journals": 0, "settings": 7}' % ("00" * 32),
        '{"device": "PJ-0001", "key": "%s", "journals": 0, "settings": {"change_ms": "soon"}}' % ("00" * 32),
        '{"device": "PJ-0001", "key": "no hex", "journals": 0}',
    ],
)
def test_a_file_that_is_no_identity_is_refused(tmp_path: Path, facts: str) -> None:
    path = tmp_path / "identity.json"
    path.write_text(facts)
    with pytest.raises(NotProvisioned):
        Identity(str(path))


def test_without_a_file_there_is_no_identity(tmp_path: Path) -> None:
    with pytest.raises(NotProvisioned):
        Identity(str(tmp_path / "identity.json"))


def test_a_power_cut_between_write_and_rename_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_identity(tmp_path / "identity.json")
    flash = MemoryFlash(4)

    def cut(*_paths: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            Device(BenchBoard(flash), Identity(str(path)), 0)
    assert bytes(flash.content) == bytes(MemoryFlash(4).content), "no number is used before its journal is counted"
    device = BenchDevice(Identity(str(path)), flash)
    assert Host(device).hello().next_seq == 1
    assert json.loads(path.read_text())["journals"] == 1


def test_a_half_written_successor_is_not_looked_at(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "identity.json")
    Path(str(path) + ".new").write_text('{"device": "PJ-')
    identity = Identity(str(path))
    assert [identity.begin_journal(), identity.begin_journal()] == [0, 1]
    assert Identity(str(path)).journals == 2


def test_everything_else_in_the_file_survives_the_counting(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "identity.json", rest_ms=5000)
    before = json.loads(path.read_text())
    Identity(str(path)).begin_journal()
    assert json.loads(path.read_text()) == {**before, "journals": 1}


def test_a_device_that_has_used_up_its_numbers_says_so(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "identity.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "journals": 1024}))
    with pytest.raises(NotProvisioned):
        Identity(str(path)).begin_journal()
