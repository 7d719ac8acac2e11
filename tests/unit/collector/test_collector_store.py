"""Schema, chain links as a function, windows' sessions, notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from collector.ingest.evidence import Evidence, EvidenceKind
from collector.ingest.links import missing
from collector.ingest.notices import LINES_A_MINUTE, MINUTE_MS, QUIET_MS, Notices
from collector.ingest.windows import SILENT_MS, take_health, take_state
from collector.store import standing
from collector.store.database import Database
from collector.store.tables import evidence, metadata, windows
from protocol.payloads import Health, State
from tests.chains import WINDOW
from tests.databases import Opened

OLD, NOW, NEXT = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def connection(store: Opened) -> Iterator[sa.Connection]:
    with store.writer.begin() as opened:
        yield opened


def test_the_migrations_make_exactly_the_tables(connection: sa.Connection) -> None:
    assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_file_database_is_durable(tmp_path: object) -> None:
    from pathlib import Path

    database = Database(Path(str(tmp_path)))
    with database.writer.begin() as opened:
        assert opened.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert opened.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


@pytest.mark.parametrize(
    ("first", "last", "lost", "holes"),
    [
        (4, 6, [], [(4, 6)]),
        (4, 6, [(4, 6)], []),
        (4, 6, [(1, 9)], []),
        (4, 6, [(5, 5)], [(4, 4), (6, 6)]),
        (4, 9, [(8, 12), (1, 5), (4, 4)], [(6, 7)]),
        (4, 3, [], []),
        (4, 6, [(7, 9), (1, 3)], [(4, 6)]),
    ],
)
def test_what_lost_spans_leave(first: int, last: int, lost: list[tuple[int, int]], holes: list[tuple[int, int]]) -> None:
    assert missing(first, last, lost) == holes


def state(session: str, online: bool, since_ms: int) -> State:
    return State(session=session, online=online, since_ms=since_ms, agent="1.0")


def online(connection: sa.Connection) -> bool:
    return bool(connection.execute(sa.select(windows.c.online)).scalar_one())


def test_the_will_of_an_older_session_is_ignored(connection: sa.Connection) -> None:
    assert take_state(connection, WINDOW, state(OLD, True, 10), 10)
    assert take_state(connection, WINDOW, state(NOW, True, 20), 20)
    assert not take_state(connection, WINDOW, state(OLD, False, 10), 21)
    assert online(connection)
    assert take_state(connection, WINDOW, state(NOW, False, 20), 22)
    assert not online(connection)


def test_an_old_hello_that_comes_late_is_ignored(connection: sa.Connection) -> None:
    take_state(connection, WINDOW, state(OLD, True, 10), 10)
    take_state(connection, WINDOW, state(NOW, False, 20), 20)
    assert not take_state(connection, WINDOW, state(OLD, True, 10), 21)
    assert not online(connection)


def test_a_will_of_a_session_whose_hello_was_missed_counts(connection: sa.Connection) -> None:
    take_state(connection, WINDOW, state(NOW, True, 20), 20)
    assert take_state(connection, WINDOW, state(NEXT, False, 30), 31)
    assert not online(connection)


def test_a_clock_set_back_does_not_keep_a_window_offline(connection: sa.Connection) -> None:
    take_state(connection, WINDOW, state(NOW, True, 2000), 20)
    assert take_state(connection, WINDOW, state(NEXT, True, 30), 31)
    assert online(connection)


def test_a_session_that_goes_on_speaking_wins_over_a_late_goodbye_from_a_wrong_clock(connection: sa.Connection) -> None:
    take_state(connection, WINDOW, state(NOW, True, 20), 20)
    assert take_state(connection, WINDOW, state(OLD, False, 9_999_999), 30)
    assert not take_state(connection, WINDOW, state(NOW, True, 20), 30 + SILENT_MS)
    assert take_state(connection, WINDOW, state(NOW, True, 20), 31 + SILENT_MS)
    assert online(connection)


def test_numbers_count_only_for_the_current_session(connection: sa.Connection) -> None:
    health = Health(session=NOW, at_ms=5, outbox_to_send=1, outbox_sent=2)
    assert not take_health(connection, WINDOW, health, 5)
    take_state(connection, WINDOW, state(NOW, True, 4), 5)
    assert take_health(connection, WINDOW, health, 6)
    assert not take_health(connection, WINDOW, health.model_copy(update={"session": OLD}), 7)


def test_a_flood_of_evidence_is_counted_and_fills_no_disk(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "EVIDENCE_KEPT", 3)
    for number in range(10):
        item = Evidence(EvidenceKind.MALFORMED, "t", WINDOW, None, None, "bad", str(number).encode())
        standing.note_evidence(connection, item, number)
    counts = list(connection.execute(sa.select(evidence.c.count).order_by(evidence.c.id)).scalars())
    assert counts == [1, 1, 1, 7]


def test_notices_are_told_once_in_a_while_with_what_was_held_back() -> None:
    notices = Notices()
    assert notices.tell("wrong_key", "w", 0) == 0
    assert [notices.tell("wrong_key", "w", at) for at in (1, 2, QUIET_MS - 1)] == [None] * 3
    assert notices.tell("damaged", "w", 5) == 0
    assert notices.tell("wrong_key", "w", QUIET_MS) == 3


def test_many_places_together_are_held_to_a_pace() -> None:
    notices = Notices()
    told = [notices.tell("wrong_key", str(place), 0) for place in range(1000)]
    assert told.count(0) == LINES_A_MINUTE
    assert notices.tell("wrong_key", "more", MINUTE_MS) == 0
