"""Generated files are what this tree writes, and the check says so in a way that helps."""

from pathlib import Path

import pytest

from protocol.generate import __main__ as generator
from protocol.generate import device_codec, page, schema


def test_every_generated_file_is_current() -> None:
    assert generator.stale_files() == [], "run: python -m protocol.generate"


def test_the_check_is_silent_when_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_check_names_every_stale_file_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.write_files(tmp_path)
    (tmp_path / device_codec.PATH).write_text("HELLO = 1\n")
    (tmp_path / page.PATH).unlink()
    stale = generator.stale_files
    monkeypatch.setattr(generator, "stale_files", lambda: stale(tmp_path))
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "stale: firmware/evaluator/wire.py\nstale: docs/protocol.md\nrun: python -m protocol.generate\n"
    )


def test_writing_twice_writes_once(tmp_path: Path) -> None:
    assert generator.write_files(tmp_path) == list(generator.FILES)
    assert generator.write_files(tmp_path) == []


def test_the_command_writes_and_says_what(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(generator, "write_files", lambda: [page.PATH])
    assert generator.main([]) == 0
    assert capsys.readouterr().out == "written: docs/protocol.md\n"


def test_the_schema_hash_covers_what_a_peer_must_agree_on() -> None:
    text = schema.canonical_text()
    for line in ("message 0x10 Hello TO_DEVICE extensible", "  source: u8 TimeSource", "  RATING=2", "  mac: bytes 16"):
        assert f"{line}\n" in text
    assert "Ask the device" not in text
