"""`agent db check` and `repair`: what is wrong is named, what is whole is rescued, nothing comes twice and nothing is deleted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from host_agent import cli
from host_agent.absences import Change, Kept, Sign
from host_agent.doctor.finding import Grade
from host_agent.errors import AgentError, StoreError
from host_agent.evaluations import Evaluation
from host_agent.store import damage, pages, soundness
from host_agent.store.absences import AbsenceStore
from host_agent.store.damage import REPAIRED, set_aside, set_aside_files
from host_agent.store.database import FILE_NAME, Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.late_cases import KEPT, WAITING, FreeRating, LateCaseStore
from host_agent.store.outbox import Outbox
from host_agent.store.salvage import repair
from host_agent.store.schema import RECEIPTED
from protocol.payloads import Absence, Case
from protocol.record import Kind, Record, RecordFlag
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, hello_answer
from tests.chains import CASE, EPOCH_MS, EVALUATION, PaperDevice
from tests.unit.host_agent.test_agent import CONFIG

RATED, RECEIPTED_UP_TO = 60, 20


def fill(folder: Path, *, count: int = RATED) -> PaperDevice:
    """Ratings of which the first twenty have a receipt, one evaluation; all of it in the file itself."""
    writer = Writer(folder)
    outbox = Outbox(writer)
    outbox.meet(hello_answer(), EPOCH_MS)
    device = PaperDevice()
    EvaluationStore(writer).add(
        Evaluation(EVALUATION.hex(), CASE, 60_000, EPOCH_MS, key="k").after_record(Kind.RATING, EPOCH_MS)
    )
    accept(writer, [*device.write_many(count - 1), device.write(evaluation=EVALUATION, case=CASE)])
    assert outbox.receipt(DEVICE, receipt(device))
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    return device


def accept(writer: Writer, records: list[Record]) -> None:
    with writer.transaction() as connection:
        Outbox(writer).accept(connection, DEVICE, [(one, one.pack()) for one in records], EPOCH_MS)
        Outbox(writer).advance(connection, DEVICE, records[-1].seq + 1)


def receipt(device: PaperDevice) -> Any:
    return sign_receipt(device.key, DEVICE, RECEIPTED_UP_TO + 1, device.written[RECEIPTED_UP_TO - 1].mac, 1)


def rows(folder: Path) -> list[tuple[int, int]]:
    """Number and state of every record, in the order in which they are sent; through a start of the agent's store."""
    writer = Writer(folder)
    found: list[tuple[int, int]] = writer.connection.execute("SELECT seq, state FROM records ORDER BY id").fetchall()
    writer.close()
    return found


def whole(count: int = RATED) -> list[tuple[int, int]]:
    return [(seq, RECEIPTED if seq <= RECEIPTED_UP_TO else 0) for seq in range(1, count + 1)]


def fails(folder: Path) -> list[str]:
    return [one.text for one in soundness.check(folder / FILE_NAME, EPOCH_MS, is_running=False) if one.grade is Grade.FAIL]


def spoil(folder: Path, at: int, content: bytes) -> None:
    with (folder / FILE_NAME).open("r+b") as file:
        file.seek(at)
        file.write(content)


def root(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / FILE_NAME) as connection:
        page: int = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    return (page - 1) * 4096


# --- pages ---------------------------------------------------------------------------------------------------------


def test_pages_hold_the_rows_that_sqlite_reads(tmp_path: Path) -> None:
    fill(tmp_path, count=200)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE records SET reckoned_json = 1.5, received_ms = -1 WHERE id = 7")
        connection.execute("UPDATE records SET received_ms = 1 << 60 WHERE id = 8")
        expected = {
            (row[0], *row[1:])
            for row in connection.execute("SELECT id, device, seq, mac, raw, evaluation, received_ms FROM records")
        }
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = {(row, *values[1:7]) for row, values in pages.rows(tmp_path / FILE_NAME) if len(values) > 9}
    assert found == expected


def test_pages_of_the_log_are_read_as_well(tmp_path: Path) -> None:
    device = fill(tmp_path)
    writer = Writer(tmp_path)
    accept(writer, device.write_many(3))
    copy = tmp_path / "copy"
    copy.mkdir()
    for end in ("", "-wal"):
        shutil.copy(tmp_path / (FILE_NAME + end), copy / (FILE_NAME + end))
    writer.close()
    found = {values[2] for _, values in pages.rows(copy / FILE_NAME) if len(values) > 9}
    assert found == set(range(1, RATED + 4))


# --- check ---------------------------------------------------------------------------------------------------------


def test_a_good_database_is_good_also_beside_a_running_agent(tmp_path: Path) -> None:
    fill(tmp_path)
    writer = Writer(tmp_path)
    found = list(soundness.check(tmp_path / FILE_NAME, EPOCH_MS, is_running=True))
    assert [one.grade for one in found] == [Grade.OK] * 8
    words = " ".join(one.text for one in found)
    assert "to send 40" in words
    assert "receipted 20" in words
    assert "rated 1" in words
    writer.close()
    (tmp_path / "none").mkdir()
    assert [one.grade for one in soundness.check(tmp_path / "none" / FILE_NAME, 0, is_running=False)] == [Grade.OK]


WRONG: dict[str, tuple[str, Grade, str]] = {
    "damaged record": ("UPDATE records SET raw = zeroblob(128) WHERE seq = 30", Grade.FAIL, "1 条已损坏 damaged: PJ-0001/30"),
    "no bytes": ("UPDATE records SET raw = 'text' WHERE seq = 30", Grade.FAIL, "damaged: PJ-0001/30"),
    "another number": ("UPDATE records SET seq = 99 WHERE seq = 30", Grade.FAIL, "do not fit their own bytes: PJ-0001/99"),
    "no such state": ("UPDATE records SET state = 7 WHERE seq = 30", Grade.FAIL, "do not fit"),
    "a gap": ("DELETE FROM records WHERE seq IN (30, 31)", Grade.WARN, "asked for when the device is here: PJ-0001/30..31"),
    "unlisted device": ("DELETE FROM devices", Grade.FAIL, "devices that are not listed: PJ-0001"),
    "damaged receipt": ("UPDATE devices SET receipt = x'00'", Grade.FAIL, "its receipt is damaged"),
    "receipt of another number": ("UPDATE devices SET receipt_seq = 30", Grade.FAIL, "does not fit the records"),
    "damaged case": ("UPDATE evaluations SET case_json = '{'", Grade.FAIL, "1 个已损坏"),
    "no such end": ("UPDATE evaluations SET state = 'x'", Grade.FAIL, "1 个已损坏"),
    "left open": ("UPDATE evaluations SET state = 'opened', created_ms = created_ms - 90000000", Grade.WARN, "ended when"),
    "later": (
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('host_agent', '9999_x', '')",
        Grade.WARN,
        "a later agent has written it: 9999_x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_and_a_repair_leaves_no_failure(tmp_path: Path, name: str) -> None:
    statement, grade, says = WRONG[name]
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(statement)
    found = list(soundness.check(tmp_path / FILE_NAME, EPOCH_MS, is_running=False))
    assert [one.text for one in found if one.grade is grade and says in one.text], found
    assert grade is Grade.FAIL or not fails(tmp_path)
    before = len(rows(tmp_path))
    repair(tmp_path)
    assert not fails(tmp_path)
    assert before - 1 <= len(rows(tmp_path)) <= before


def test_a_break_and_a_number_that_came_twice_are_told(tmp_path: Path) -> None:
    device = fill(tmp_path)
    writer = Writer(tmp_path)
    stranger = PaperDevice(next_seq=RATED + 1, prev_mac=bytes(16))
    twin = PaperDevice(next_seq=40, prev_mac=device.written[38].mac)
    accept(writer, [stranger.write(), twin.write(level=2)])
    found = [one for one in soundness.check(tmp_path / FILE_NAME, EPOCH_MS, is_running=False) if one.grade is Grade.WARN]
    assert any("broken" in one.text and f"PJ-0001/{RATED + 1}" in one.text for one in found)
    assert any("one number twice" in one.text and "PJ-0001/40" in one.text for one in found)
    writer.close()


# --- repair --------------------------------------------------------------------------------------------------------


def header(folder: Path) -> None:
    spoil(folder, 0, os.urandom(100))


def schema_page(folder: Path) -> None:
    spoil(folder, 100, bytes(3000))


def inner_page(folder: Path) -> None:
    spoil(folder, root(folder, "records"), os.urandom(4096))


def indexes(folder: Path) -> None:
    for name in ("records_by_mac", "records_by_state", "records_by_evaluation", "evaluations_by_key"):
        spoil(folder, root(folder, name), bytes(4096))


@pytest.mark.parametrize("breaks", [header, schema_page, inner_page, indexes])
def test_where_no_row_is_damaged_every_row_is_kept(tmp_path: Path, breaks: Callable[[Path], None]) -> None:
    fill(tmp_path)
    breaks(tmp_path)
    condemned = (tmp_path / FILE_NAME).read_bytes()
    assert fails(tmp_path)
    done = repair(tmp_path)
    assert (done.records, done.to_send, done.evaluations, done.damaged_rows) == (RATED, RATED - RECEIPTED_UP_TO, 1, 0)
    assert rows(tmp_path) == whole()
    assert not fails(tmp_path)
    (kept,) = done.kept_aside
    assert (tmp_path / kept).read_bytes() == condemned
    writer = Writer(tmp_path)
    assert writer.set_aside() == [], "and the agent does not tell of it any more"
    evaluation = EvaluationStore(writer).by_key("k")
    assert evaluation is not None
    assert evaluation.case == CASE
    assert Outbox(writer).meet(hello_answer(next_seq=RATED + 1, receipt_seq=RECEIPTED_UP_TO + 1), 1) == (0, False), (
        "asked for all it has"
    )
    assert Outbox(writer).last_receipt(DEVICE) is not None
    writer.close()
    assert not repair(tmp_path).has_work


def test_records_behind_damage_in_the_log_are_seen_and_kept(tmp_path: Path) -> None:
    """SQLite reads the log up to the first page that is not right, and finds nothing wrong with that."""
    device = fill(tmp_path / "data")
    writer = Writer(tmp_path / "data")
    for _ in range(10):
        accept(writer, device.write_many(2))
    copy = tmp_path / "copy"
    copy.mkdir()
    for end in ("", "-wal"):
        shutil.copy(tmp_path / "data" / (FILE_NAME + end), copy / (FILE_NAME + end))
    writer.close()
    log = bytearray((copy / f"{FILE_NAME}-wal").read_bytes())
    log[32 + 30] ^= 1
    (copy / f"{FILE_NAME}-wal").write_bytes(log)
    assert any("the log is damaged" in text for text in fails(copy))
    assert repair(copy).records >= RATED + 18
    assert not fails(copy)


def test_an_empty_file_does_not_cost_its_log(tmp_path: Path) -> None:
    """SQLite deletes a log that has no database, also when it is only asked to read."""
    device = fill(tmp_path / "data")
    writer = Writer(tmp_path / "data")
    accept(writer, device.write_many(20))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / FILE_NAME).touch()
    shutil.copy(tmp_path / "data" / f"{FILE_NAME}-wal", copy / f"{FILE_NAME}-wal")
    writer.close()
    assert any("its log is not" in text for text in fails(copy))
    Writer(copy).close()  # an agent moves both aside
    assert repair(copy).records >= 20


def test_rows_that_are_damaged_are_counted_and_the_numbers_told(tmp_path: Path) -> None:
    device = fill(tmp_path)
    content = (tmp_path / FILE_NAME).read_bytes()
    for record in device.written[29:32]:
        at = content.index(record.pack())
        spoil(tmp_path, at + 20, b"\xff\xff\xff\xff")
    done = repair(tmp_path)
    assert (done.damaged_rows, done.missing) == (3, [(DEVICE, 30, 32)])
    assert rows(tmp_path) == [one for one in whole() if not 30 <= one[0] <= 32]


def test_a_record_that_only_damage_calls_receipted_is_sent(tmp_path: Path) -> None:
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE records SET state = ? WHERE seq IN (21, 50)", (RECEIPTED,))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    header(tmp_path)
    repair(tmp_path)
    assert rows(tmp_path) == whole()


def test_a_case_that_is_not_the_one_that_was_signed_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path)
    content = (tmp_path / FILE_NAME).read_bytes()
    spoil(tmp_path, content.index(b"533103-2026-0001"), b"533103-2026-0009")
    header(tmp_path)
    done = repair(tmp_path)
    assert (done.records, done.evaluations) == (RATED, 0)


def test_a_device_whose_name_is_damaged_gets_no_record_and_loses_none(tmp_path: Path) -> None:
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE records SET device = 'PJ-0081' WHERE seq = 40")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    header(tmp_path)
    done = repair(tmp_path)
    assert (done.unknown_devices, done.missing) == (1, [(DEVICE, 40, 40)])


def test_what_was_set_aside_comes_back_once_and_in_its_order(tmp_path: Path) -> None:
    """Set aside, begun anew, and the device has sent some of it again: nothing doubled, nothing receipted becomes unreceipted."""
    device = fill(tmp_path)
    set_aside(tmp_path / FILE_NAME, "a test")
    writer = Writer(tmp_path)
    Outbox(writer).meet(hello_answer(), EPOCH_MS)
    accept(writer, [*device.written[35:], *device.write_many(2)])
    late = sign_receipt(device.key, DEVICE, 51, device.written[49].mac, 1)
    assert Outbox(writer).receipt(DEVICE, late)
    writer.close()
    now = [(seq, RECEIPTED if seq <= 50 else 0) for seq in range(36, RATED + 3)]
    assert rows(tmp_path) == now
    preview = repair(tmp_path, dry_run=True)
    assert rows(tmp_path) == now
    done = repair(tmp_path)
    assert (done.added, done.sources) == (35, preview.sources)
    assert (preview.added, preview.records) == (done.added, done.records)
    # those without a receipt of their own are sent: the collector has them already, and stores each once
    expected = {seq: RECEIPTED if seq <= RECEIPTED_UP_TO or 36 <= seq <= 50 else 0 for seq in range(1, RATED + 3)}
    assert dict(rows(tmp_path)) == expected
    assert len(rows(tmp_path)) == RATED + 2
    assert set_aside_files(tmp_path / FILE_NAME) == []
    assert not repair(tmp_path).has_work


def test_two_set_aside_and_none_in_use(tmp_path: Path) -> None:
    device = fill(tmp_path)
    set_aside(tmp_path / FILE_NAME, "a test")
    writer = Writer(tmp_path)
    Outbox(writer).meet(hello_answer(), EPOCH_MS)
    accept(writer, device.written[40:])
    writer.close()
    set_aside(tmp_path / FILE_NAME, "a test")
    assert repair(tmp_path).records == RATED
    assert rows(tmp_path) == whole()


def test_a_running_agent_is_not_disturbed_and_nothing_is_not_repaired(tmp_path: Path) -> None:
    fill(tmp_path / "data")
    writer = Writer(tmp_path / "data")
    with pytest.raises(StoreError, match="stop it first"):
        repair(tmp_path / "data")
    writer.close()
    (tmp_path / "none").mkdir()
    with pytest.raises(StoreError, match="nothing to repair"):
        repair(tmp_path / "none")


class PowerCut(BaseException):
    """The machine is off."""


STEPS = ("os.replace", "shutil.copyfile", "os.fsync", "os.chmod", "pathlib.Path.rename", "pathlib.Path.unlink")


@pytest.mark.parametrize("is_current_damaged", [False, True])
def test_a_power_cut_at_any_step_leaves_the_old_one_or_the_new_one(tmp_path: Path, *, is_current_damaged: bool) -> None:
    """Each run is cut one step later, before or after it took effect, until one comes through; an agent starts on what is there."""
    model = tmp_path / "model"
    device = fill(model)
    set_aside(model / FILE_NAME, "a test")
    writer = Writer(model)
    Outbox(writer).meet(hello_answer(), EPOCH_MS)
    accept(writer, device.write_many(2))
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    old, new = [(RATED + 1, 0), (RATED + 2, 0)], [*whole(), (RATED + 1, 0), (RATED + 2, 0)]
    if is_current_damaged:
        damage.condemn(model / FILE_NAME)
    cuts = 0
    for step in range(200):
        place = tmp_path / f"cut-{step}"
        shutil.copytree(model, place)
        if came_through(place, step // 2, after=step % 2 == 1):
            assert rows(place) == new
            break
        cuts += 1
        (place / f"{FILE_NAME}.lock").unlink()  # the operating system's, gone with the process
        found = rows(place)
        # a condemned one is moved aside by that start, with whatever is in it
        assert found in ((old, new) if not is_current_damaged else ([], new)), step
        repair(place)
        assert sorted(rows(place)) == sorted(new), step
        shutil.rmtree(place)
    else:
        raise AssertionError("it never came through")
    assert cuts > 20


def came_through(place: Path, steps: int, *, after: bool) -> bool:
    """Repair, and cut the power at a step, before or after it took effect."""
    left = [steps]

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if left[0] < 0:
                raise PowerCut  # whatever tidies up on the way out does not run when the power is gone
            left[0] -= 1
            if left[0] >= 0:
                return real(*arguments, **more)
            if after:
                real(*arguments, **more)
            raise PowerCut

        return call

    with pytest.MonkeyPatch.context() as patch:
        import pathlib

        for name in STEPS:
            module, _, function = name.rpartition(".")
            owner: Any = {"os": os, "shutil": shutil, "pathlib.Path": pathlib.Path}[module]
            patch.setattr(owner, function, mortal(getattr(owner, function)))
        try:
            repair(place)
        except PowerCut:
            return False
    return True


def test_a_repair_that_was_decided_is_put_in_place_by_the_next_start(tmp_path: Path) -> None:
    fill(tmp_path / "new")
    fill(tmp_path / "old", count=30)
    os.replace(tmp_path / "new" / FILE_NAME, tmp_path / "old" / (FILE_NAME + REPAIRED))
    (tmp_path / "old" / f"{FILE_NAME}-wal").write_bytes(os.urandom(5000))
    damage.condemn(tmp_path / "old" / FILE_NAME)
    assert rows(tmp_path / "old") == whole()
    assert set_aside_files(tmp_path / "old" / FILE_NAME) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only an administrator gives files away")
def test_what_an_administrator_repairs_belongs_to_the_agents_account(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fill(data)
    header(data)
    for path in (data, *data.iterdir()):
        if sys.platform != "win32":
            os.chown(path, 12345, 12345)
    repair(data)
    assert {path.stat().st_uid for path in data.iterdir()} == {12345}


# --- the commands --------------------------------------------------------------------------------------------------


def test_the_commands_say_what_they_found_and_did(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG, encoding="utf-8")

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.app, ["db", *words, "-c", str(config)])
        assert done.exception is None or isinstance(done.exception, SystemExit | AgentError)
        return done.exit_code, str(done.exception) if isinstance(done.exception, AgentError) else " ".join(done.output.split())

    assert "nothing to repair" in run("repair")[1]
    fill(tmp_path / "data")
    assert run("check")[0] == 0
    assert "nothing to repair" in run("repair")[1]
    header(tmp_path / "data")
    code, words = run("check")
    assert (code, "agent db repair" in words) == (2, True)
    assert "nothing was changed" in run("repair", "--dry-run")[1]
    assert run("check")[0] == 2
    code, words = run("repair")
    assert code == 0
    assert "records 60" in words
    assert "start the agent" in words
    assert run("check")[0] == 0


def test_cases_named_afterwards_and_evaluations_without_one_are_rescued(tmp_path: Path) -> None:
    """The collection may have them or not: they are sent again, and it counts the first."""
    fill(tmp_path)
    writer = Writer(tmp_path)
    free = PaperDevice().write(flags=RecordFlag.FREE_STANDING)
    for seq, state in ((1, KEPT), (2, WAITING)):
        rating = FreeRating(DEVICE, seq, free.mac, None, None, None)
        LateCaseStore(writer).name(rating, Case(case_no=f"L-{seq}"), "017", EPOCH_MS)
        writer.connection.execute("UPDATE late_cases SET state = ? WHERE seq = ?", (state, seq))
    EvaluationStore(writer).add(Evaluation("ab" * 16, None, 60_000, EPOCH_MS, key="none"))
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    assert not fails(tmp_path)
    spoil(tmp_path, root(tmp_path, "devices"), b"\xff" * 64)
    assert fails(tmp_path)
    repair(tmp_path)
    writer = Writer(tmp_path)
    assert [(one.seq, one.case.case_no, one.mac) for one in LateCaseStore(writer).waiting(0, 9)] == [
        (1, "L-1", free.mac),
        (2, "L-2", free.mac),
    ]
    kept = EvaluationStore(writer).get("ab" * 16)
    writer.close()
    assert kept is not None
    assert (kept.case, kept.key) == (None, "none")
    assert not fails(tmp_path)


def test_a_damaged_late_case_is_found(tmp_path: Path) -> None:
    fill(tmp_path)
    writer = Writer(tmp_path)
    LateCaseStore(writer).name(FreeRating(DEVICE, 1, bytes(16), None, None, None), CASE, None, 1)
    writer.connection.execute("UPDATE late_cases SET case_json = '{'")
    writer.close()
    assert any("已损坏" in text for text in fails(tmp_path))


def test_absences_that_are_over_are_rescued_and_damaged_ones_found(tmp_path: Path) -> None:
    """The collection may have them or not: they are sent again, and it stores each once."""
    fill(tmp_path)
    writer = Writer(tmp_path)
    store = AbsenceStore(writer)
    said = Absence(id="ab" * 16, what="device", reason="silent", begin_ms=1, end_ms=9, lasted_ms=8, measured=True, times=1)
    lasts = said.model_copy(update={"id": "cd" * 16})
    store.put(Change((Kept(said, is_over=True), Kept(lasts, is_over=False)), Sign(9, False, None, None), True))
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.close()
    assert not fails(tmp_path)
    spoil(tmp_path, root(tmp_path, "devices"), b"\xff" * 64)
    repair(tmp_path)
    writer = Writer(tmp_path)
    assert [(one.said, one.is_over) for one in AbsenceStore(writer).waiting(0, 9)] == [(said, True)]
    writer.connection.execute("UPDATE absences SET said_json = '{'")
    writer.close()
    assert any("已损坏" in text for text in fails(tmp_path))
