"""`agent export`: what the database holds, in three formats and never with a level, beside a running agent and without one."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.errors import AgentError
from host_agent.evaluations import Evaluation
from host_agent.export import rows
from host_agent.export.formats import FORMATS
from host_agent.export.rows import RECORD_TITLES, Line
from host_agent.store.database import FILE_NAME, Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.outbox import Outbox
from host_agent.store.reader import reading
from host_agent.store.schema import DISPUTED
from protocol.levels import Level
from protocol.payloads import Case, Reckoned
from protocol.record import Kind, RecordFlag
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, hello_answer
from tests.chains import EPOCH_MS, PaperDevice
from tests.unit.host_agent.test_agent import CONFIG

EVIL = Case(case_no='=HYPERLINK("http://x","y")', item_code="-1+1", item_name="户口登记,\n“注销”")
DAY_MS = 86_400_000
"""EPOCH_MS is 2026-05-29 04:26:40 in Beijing."""


def fill(folder: Path, levels: tuple[int, ...] = (5, 1)) -> Writer:
    """Boot, a rating of a case (receipted up to here), a rating a day later, one from a device that knew no time, a damaged one."""
    writer = Writer(folder / "data")
    outbox = Outbox(writer)
    outbox.meet(hello_answer(), 1)
    device = PaperDevice()
    evaluation = bytes(range(16))
    EvaluationStore(writer).add(
        Evaluation(evaluation.hex(), EVIL, 60_000, EPOCH_MS, staff="017").after_record(Kind.RATING, EPOCH_MS + 9)
    )
    written = [device.write(Kind.BOOT), device.write(level=levels[0], evaluation=evaluation, case=EVIL)]
    later = device.write(level=levels[1], flags=RecordFlag.FREE_STANDING)
    reckoned = Reckoned(at_ms=EPOCH_MS + 7, uncertainty_ms=1, quality="fitted", clock_jumped=False)
    with writer.transaction() as connection:
        for records, now_ms in ((written, EPOCH_MS), ([later], EPOCH_MS + DAY_MS)):
            outbox.accept(connection, DEVICE, [(one, one.pack()) for one in records], now_ms, 2, lambda _record: reckoned)
    assert outbox.receipt(DEVICE, sign_receipt(device.key, DEVICE, 3, written[1].mac, 1))
    writer.connection.execute(
        "INSERT INTO records (device, seq, mac, raw, received_ms, replayed, state) VALUES (?, 9, x'09', x'0909', ?, 0, ?)",
        (DEVICE, EPOCH_MS + 2 * DAY_MS, DISPUTED),
    )
    (folder / "agent.toml").write_text(CONFIG, encoding="utf-8")
    return writer


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    writer = fill(tmp_path)
    yield tmp_path  # an agent has it open all the time
    writer.close()


def export(folder: Path, *options: str) -> bytes:
    done = CliRunner().invoke(cli.app, ["export", "-c", str(folder / "agent.toml"), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "exported" in done.stderr
    return done.stdout_bytes


def lines(folder: Path, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export(folder, "--format", "jsonl", *options).splitlines()]


def seqs(folder: Path, *options: str) -> list[int]:
    return [line["seq"] for line in lines(folder, *options)]


def test_what_a_record_says_is_there_under_names_that_stay(folder: Path) -> None:
    first, second, third, damaged = lines(folder)
    assert tuple(second) == tuple(RECORD_TITLES)
    assert second == {
        "device": DEVICE,
        "seq": 2,
        "kind": "rating",
        "evaluation": bytes(range(16)).hex(),
        "case_no": EVIL.case_no,
        "item_code": EVIL.item_code,
        "item_name": EVIL.item_name,
        "staff": "017",
        "pressed_at": "2026-05-29T04:26:42.000+08:00",
        "time_quality": "synchronised",
        "uncertainty_ms": 5,
        "reckoned_at": "2026-05-29T04:26:40.007+08:00",
        "received_at": "2026-05-29T04:26:40.000+08:00",
        "state": "receipted",
        "sends": 0,
        "replayed": False,
        "free_standing": False,
        "revises_seq": None,
        "while_paused": False,
        "no_host": False,
        "boot": 1,
    }
    assert (first["kind"], first["evaluation"], first["replayed"]) == ("boot", None, True)
    assert (third["state"], third["free_standing"], third["case_no"]) == ("to_send", True, None)
    assert (damaged["kind"], damaged["state"], damaged["pressed_at"]) == ("damaged", "disputed", None)


def test_evaluations_say_how_they_ended_and_not_how_they_were_rated(folder: Path) -> None:
    (line,) = lines(folder, "--what", "evaluations")
    assert (line["state"], line["staff"], line["timeout_s"]) == ("rated", "017", 60)
    assert (line["created_at"], line["ended_at"]) == ("2026-05-29T04:26:40.000+08:00", "2026-05-29T04:26:40.009+08:00")


@pytest.mark.parametrize("what", ["records", "evaluations"])
@pytest.mark.parametrize("form", FORMATS)
def test_two_databases_that_differ_in_levels_only_give_the_same_export(tmp_path: Path, form: str, what: str) -> None:
    """There is no word for a level in it, and nothing either from which one could be told."""
    found: list[Any] = []
    for levels in ((5, 1), (1, 3)):
        place = tmp_path / str(levels[0])
        place.mkdir()
        fill(place, levels).close()
        file = place / f"out.{form}"
        export(place, "--what", what, "--output", str(file))
        found.append(cells(file) if form == "xlsx" else file.read_bytes())
        assert not any(level.word.encode() in file.read_bytes() for level in Level)
    assert found[0] == found[1]


def cells(file: Path) -> list[tuple[Any, ...]]:
    return [tuple(cell.value for cell in row) for row in openpyxl.load_workbook(file).worksheets[0].iter_rows()]


def test_csv_is_safe_in_a_spreadsheet_and_read_back_by_a_program(folder: Path) -> None:
    text = export(folder, "--bom").decode("utf-8-sig")
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert read[1]["case_no"] == f"'{EVIL.case_no}"
    assert read[1]["item_code"] == f"'{EVIL.item_code}"
    assert read[1]["item_name"] == EVIL.item_name
    assert [row["seq"] for row in read] == ["1", "2", "3", "9"]
    assert read[0]["replayed"] == "true"
    assert export(folder, "--bom").startswith(b"\xef\xbb\xbf")
    assert not export(folder).startswith(b"\xef")
    assert text.count("\r\n") == 5


def test_a_workbook_has_types_and_chinese_titles_and_no_formula(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "记录.xlsx"
    export(folder, "-o", str(file))
    sheet = openpyxl.load_workbook(file).worksheets[0]
    title, _boot, rating, *_ = [{cell.column: cell for cell in row} for row in sheet.iter_rows()]
    by_title = {cell.value: rating[column] for column, cell in title.items()}
    assert by_title["记录号"].value == 2
    assert by_title["办件编号"].value == EVIL.case_no
    assert by_title["办件编号"].data_type == "s"
    assert by_title["记录时间（评价器）"].value == datetime(2026, 5, 29, 4, 26, 42)  # a cell knows no zone
    assert by_title["补传"].value == "否"


def test_json_is_one_document(folder: Path) -> None:
    assert json.loads(export(folder, "--format", "json")) == lines(folder)
    assert json.loads(export(folder, "--format", "json", "--kind", "paused")) == []


def test_it_is_read_a_page_at_a_time_and_what_comes_meanwhile_is_in_it_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export(folder)
    monkeypatch.setattr(rows, "PAGE_ROWS", 2)
    assert export(folder) == whole
    with reading(folder / "data" / FILE_NAME) as connection:
        read = rows.records(connection, rows.Wanted())
        got = [next(read)["seq"]]
        with sqlite3.connect(folder / "data" / FILE_NAME) as other:
            other.execute("UPDATE records SET seq = 10 WHERE seq = 9")
        got += [line["seq"] for line in read]
    assert got == [1, 2, 3, 10]


def test_kind_state_and_days_choose(folder: Path) -> None:
    assert seqs(folder, "--kind", "rating") == [2, 3]
    assert seqs(folder, "--kind", "rating", "--kind", "damaged") == [2, 3, 9]
    assert seqs(folder, "--state", "waiting") == [3]
    assert seqs(folder, "--state", "receipted", "--state", "disputed") == [1, 2, 9]
    assert seqs(folder, "--since", "2026-05-30") == [9], "by the time of the press; where there is none, by when it came"
    assert seqs(folder, "--until", "2026-05-29") == [1, 2, 3]
    assert seqs(folder, "--since", "2026-05-31", "--until", "2026-05-31") == [9]
    assert lines(folder, "--what", "evaluations", "--since", "2026-05-30") == []


def refused(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(cli.app, ["export", "-c", str(folder / "agent.toml"), *options])
    assert done.exit_code != 0
    return str(done.exception) if isinstance(done.exception, AgentError) else done.output


def test_a_file_that_is_there_is_replaced_only_when_told(folder: Path) -> None:
    file = folder / "out.csv"
    file.write_text("mine")
    assert "--overwrite" in refused(folder, "-o", str(file))
    assert file.read_text() == "mine"
    export(folder, "-o", str(file), "--overwrite")
    assert file.read_text().startswith("device,seq")
    assert file.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in folder.iterdir()) == ["agent.toml", "data", "out.csv"]


def test_what_cannot_be_done_is_said_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    assert "--output FILE.xlsx" in refused(folder, "--format", "xlsx")
    assert "csv only" in refused(folder, "--format", "json", "--bom")
    assert "--what records" in refused(folder, "--what", "evaluations", "--kind", "rating")
    assert "check folder" in refused(folder, "-o", str(tmp_path / "no" / "such" / "file.csv"))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "agent.toml").write_text(CONFIG, encoding="utf-8")
    assert "has the agent ever run" in refused(empty)
    (empty / "data").mkdir()
    (empty / "data" / FILE_NAME).write_bytes(b"nonsense" * 1000)
    assert "agent db check" in refused(empty)


def test_an_export_without_an_agent_leaves_nothing_in_its_way(tmp_path: Path) -> None:
    fill(tmp_path).close()
    assert seqs(tmp_path) == [1, 2, 3, 9]
    again = Writer(tmp_path / "data")
    assert again.set_aside() == []
    again.close()


def test_the_length_of_the_table_costs_no_memory(tmp_path: Path) -> None:
    titles = {name: name for name in RECORD_TITLES}

    def many(count: int) -> Iterator[Line]:
        for number in range(count):
            yield dict.fromkeys(titles, f"{number:060}")

    def peak(form: str, count: int) -> int:
        with (tmp_path / "out").open("wb") as out:
            tracemalloc.start()
            assert FORMATS[form](out, titles, many(count)) == count
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return most

    for form in FORMATS:
        peak(form, 50)
        assert peak(form, 1_000) < 1_000 * 60 * len(titles) / 2, "less than half of what went through"
