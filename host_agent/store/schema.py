"""The tables, as numbered migrations that are never edited once released.

`records` holds every record that came from a device, by (device, seq, mac): a device whose numbers come twice with different
content is a finding for the collector, not something to swallow here. `state` counts up: to send, sent, receipted. Of two
records with one number only one can be collected; the other one ends as disputed, after it has been sent several times.
Record ids are never used twice (AUTOINCREMENT): the publisher remembers up to which id it has come, also over a purge.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

TO_SEND: Final = 0
SENT: Final = 1
RECEIPTED: Final = 2
DISPUTED: Final = 3

migrations = Migrations("host_agent")

_FIRST = (
    # sent_run_ms: when it was last sent, in the agent's running time (see uplink/delivery); NULL when never
    # replayed: 1 when the device had written it before it was connected
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        device TEXT NOT NULL,
        seq INTEGER NOT NULL,
        mac BLOB NOT NULL,
        raw BLOB NOT NULL,
        evaluation TEXT,
        received_ms INTEGER NOT NULL,
        replayed INTEGER NOT NULL,
        state INTEGER NOT NULL,
        sent_run_ms INTEGER
    )""",
    "CREATE UNIQUE INDEX records_by_mac ON records (device, seq, mac)",
    "CREATE INDEX records_by_state ON records (state, id)",
    "CREATE INDEX records_by_evaluation ON records (evaluation)",
    """CREATE TABLE devices (
        device TEXT PRIMARY KEY,
        next_seq INTEGER NOT NULL,
        receipt_seq INTEGER NOT NULL,
        receipt BLOB,
        firmware TEXT,
        boot INTEGER,
        seen_ms INTEGER
    )""",
    """CREATE TABLE evaluations (
        id TEXT PRIMARY KEY,
        key TEXT,
        case_json TEXT NOT NULL,
        staff TEXT,
        state TEXT NOT NULL,
        reason TEXT,
        timeout_ms INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        ended_ms INTEGER
    )""",
    "CREATE UNIQUE INDEX evaluations_by_key ON evaluations (key)",
    "CREATE INDEX evaluations_by_state ON evaluations (state, created_ms)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)


@migrations(name="0001_first")
def _first(db: Database) -> None:
    for statement in _FIRST:
        db.execute(statement)


@migrations(name="0002_sends")
def _sends(db: Database) -> None:
    # how often the broker has acknowledged it
    db.execute("ALTER TABLE records ADD COLUMN sends INTEGER NOT NULL DEFAULT 0")


@migrations(name="0003_reckoned")
def _reckoned(db: Database) -> None:
    # protocol.payloads.Reckoned as JSON, as it was reckoned when the record came; NULL where nobody has
    db.execute("ALTER TABLE records ADD COLUMN reckoned_json TEXT")


@migrations(name="0004_late_cases")
def _late_cases(db: Database) -> None:
    # state: 0 the collection has not confirmed it, 1 it has, 2 it had another one first
    db.execute(
        """CREATE TABLE late_cases (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            device TEXT NOT NULL,
            seq INTEGER NOT NULL,
            mac BLOB NOT NULL,
            case_json TEXT NOT NULL,
            staff TEXT,
            named_ms INTEGER NOT NULL,
            state INTEGER NOT NULL
        )"""
    )
    db.execute("CREATE UNIQUE INDEX late_cases_by_rating ON late_cases (device, seq)")
    db.execute("CREATE INDEX late_cases_by_state ON late_cases (state, id)")


@migrations(name="0005_absences")
def _absences(db: Database) -> None:
    # told: what the collection has confirmed, 0 nothing, 1 that it began; one whose end is confirmed is deleted
    # said_json: protocol.payloads.Absence; of one that is not over, with the end that it would have had when it was written
    db.execute(
        """CREATE TABLE absences (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            what TEXT NOT NULL,
            said_json TEXT NOT NULL,
            is_over INTEGER NOT NULL,
            told INTEGER NOT NULL DEFAULT 0
        )"""
    )
    db.execute("CREATE UNIQUE INDEX absences_by_id ON absences (id)")
