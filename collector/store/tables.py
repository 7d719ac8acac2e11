"""The tables, as they stand after the last migration.

`records` holds each (device, seq) once, for ever as it came; only what follows from other records (`link`, `replaced_by`)
and a late, signed-for case are filled in afterwards. `arrival` counts rows in the order of their commit: it is a reading
position for pages, never an order of events. A test compares this file with the migrations.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata: Final = sa.MetaData()

# SQLite gives automatic numbers to INTEGER PRIMARY KEY only
AUTO = sa.BigInteger().with_variant(sa.Integer, "sqlite")
OPEN_LINK = sa.text("link IN ('gap_before', 'broken')")
"""The condition of the index of chain troubles; a query must contain it word for word to use that index."""
IS_LOST = sa.text("kind = 'lost'")
IS_EFFECTIVE = sa.text("kind = 'rating' AND replaced_by IS NULL")
IS_REVISION = sa.text("revises IS NOT NULL")
IS_PRESENCE = sa.text("kind IN ('sign_in', 'sign_out', 'paused', 'resumed')")

records: Final = sa.Table(
    "records",
    metadata,
    sa.Column("device", sa.String(16), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("arrival", sa.BigInteger, nullable=False, unique=True),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("level", sa.String(24)),
    sa.Column("boot", sa.BigInteger, nullable=False),
    sa.Column("uptime_ms", sa.BigInteger, nullable=False),
    sa.Column("utc_ms", sa.BigInteger, nullable=False),
    sa.Column("uncertainty_ms", sa.BigInteger, nullable=False),
    sa.Column("quality", sa.String(16), nullable=False),
    sa.Column("flags", sa.Integer, nullable=False),
    sa.Column("detail", sa.Integer, nullable=False),
    sa.Column("refers_to", sa.BigInteger, nullable=False),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column("evaluation", sa.String(32)),
    sa.Column("context_digest", sa.String(32)),
    sa.Column("staff", sa.String(16)),
    sa.Column("prev_mac", sa.LargeBinary(16), nullable=False),
    sa.Column("mac", sa.LargeBinary(16), nullable=False),
    sa.Column("raw", sa.LargeBinary(128), nullable=False),
    sa.Column("area", sa.String(6), nullable=False),
    sa.Column("hall", sa.String(32), nullable=False),
    sa.Column("window", sa.String(32), nullable=False),
    sa.Column("agent_received_ms", sa.BigInteger, nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("historical", sa.Boolean, nullable=False),
    sa.Column("case_json", sa.Text),
    sa.Column("case_matches", sa.Boolean),
    sa.Column("link", sa.String(12), nullable=False),
    sa.Column("revises", sa.BigInteger),
    sa.Column("replaced_by", sa.BigInteger),
    sa.Column("reckoned_ms", sa.BigInteger),
    sa.Column("reckoned_uncertainty_ms", sa.BigInteger),
    sa.Column("reckoned_quality", sa.String(12)),
    sa.Column("clock_jumped", sa.Boolean),
    sa.Index("records_open_links", "device", "seq", sqlite_where=OPEN_LINK, postgresql_where=OPEN_LINK),
    sa.Index("records_lost", "device", "seq", sqlite_where=IS_LOST, postgresql_where=IS_LOST),
    sa.Index("records_effective", "level", sqlite_where=IS_EFFECTIVE, postgresql_where=IS_EFFECTIVE),
    sa.Index("records_revisions", "device", "revises", sqlite_where=IS_REVISION, postgresql_where=IS_REVISION),
    sa.Index("records_presence", "utc_ms", sqlite_where=IS_PRESENCE, postgresql_where=IS_PRESENCE),
)
"""Every verified record. `level` is a word, kept for ratings and extra presses; only `kind` rating counts.

`reckoned_*` and `clock_jumped` are the agent's unsigned word on when it was written.
"""

evidence: Final = sa.Table(
    "evidence",
    metadata,
    sa.Column("id", AUTO, primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("place", sa.String(72), nullable=False),
    sa.Column("device", sa.String(16)),
    sa.Column("seq", sa.BigInteger),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Index("evidence_by_kind", "kind", "place"),
)
"""What arrived and was not simply stored; `place` is area/hall/window, or empty when the topic names none."""

positions: Final = sa.Table(
    "positions",
    metadata,
    sa.Column("device", sa.String(16), primary_key=True),
    sa.Column("journal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("vouched_seq", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("next_seq", sa.BigInteger, nullable=False),
    sa.Column("mac", sa.LargeBinary(16), nullable=False),
    sa.Column("area", sa.String(6), nullable=False),
    sa.Column("hall", sa.String(32), nullable=False),
    sa.Column("window", sa.String(32), nullable=False),
    sa.Column("heard_ms", sa.BigInteger, nullable=False),
)
"""How far each journal of each device is whole: the receipt says `next_seq` (0: none yet) and `mac` of the record before."""

late_cases: Final = sa.Table(
    "late_cases",
    metadata,
    sa.Column("device", sa.String(16), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("mac", sa.LargeBinary(16), nullable=False),
    sa.Column("area", sa.String(6), primary_key=True),
    sa.Column("hall", sa.String(32), primary_key=True),
    sa.Column("window", sa.String(32), primary_key=True),
    sa.Column("case_json", sa.Text, nullable=False),
    sa.Column("staff", sa.String(16)),
    sa.Column("named_ms", sa.BigInteger, nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
)
"""Cases named after their rating, as the window said; it may come before the record itself. Unsigned: it goes only to a rating that
is bound to no case, came through the same window and has this MAC; of several from one window the first that came counts."""

absences: Final = sa.Table(
    "absences",
    metadata,
    sa.Column("area", sa.String(6), primary_key=True),
    sa.Column("hall", sa.String(32), primary_key=True),
    sa.Column("window", sa.String(32), primary_key=True),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("what", sa.String(8), nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("device", sa.String(16)),
    sa.Column("staff", sa.String(16)),
    sa.Column("begin_ms", sa.BigInteger, nullable=False),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("lasted_ms", sa.BigInteger),
    sa.Column("measured", sa.Boolean, nullable=False),
    sa.Column("times", sa.BigInteger, nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("end_received_ms", sa.BigInteger),
    sa.Index("absences_by_begin", "begin_ms"),
)
"""Times without a device or without the agent, as the windows say (protocol.payloads.Absence). Unsigned; `end_ms` is NULL while one
lasts, or while nobody has told its end."""

windows: Final = sa.Table(
    "windows",
    metadata,
    sa.Column("area", sa.String(6), primary_key=True),
    sa.Column("hall", sa.String(32), primary_key=True),
    sa.Column("window", sa.String(32), primary_key=True),
    sa.Column("session", sa.String(32), nullable=False),
    sa.Column("previous_session", sa.String(32)),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.Column("heard_ms", sa.BigInteger, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("device", sa.String(16)),
    sa.Column("firmware", sa.Text),
    sa.Column("boot", sa.BigInteger),
    sa.Column("release_on_ack", sa.Boolean),
    sa.Column("health_at_ms", sa.BigInteger),
    sa.Column("journal_waiting", sa.BigInteger),
    sa.Column("journal_free", sa.BigInteger),
    sa.Column("outbox_to_send", sa.BigInteger),
    sa.Column("outbox_sent", sa.BigInteger),
    sa.Column("oldest_waiting_ms", sa.BigInteger),
    sa.Column("device_health", sa.Text),
)
"""What each window's agent last said about itself. Unsigned, for people to look at; nothing is decided by it."""
