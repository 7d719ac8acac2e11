"""The first tables: records, evidence, positions, windows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

AUTO = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "records",
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
    )
    op.create_table(
        "evidence",
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
    )
    op.create_table(
        "positions",
        sa.Column("device", sa.String(16), primary_key=True),
        sa.Column("journal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("first_met_ms", sa.BigInteger, nullable=False),
        sa.Column("adopted_seq", sa.BigInteger),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary(16), nullable=False),
        sa.Column("area", sa.String(6), nullable=False),
        sa.Column("hall", sa.String(32), nullable=False),
        sa.Column("window", sa.String(32), nullable=False),
        sa.Column("heard_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "windows",
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
    )
    op.create_index(
        "records_open_links",
        "records",
        ["device", "seq"],
        sqlite_where=sa.text("link IN ('gap_before', 'broken')"),
        postgresql_where=sa.text("link IN ('gap_before', 'broken')"),
    )
    op.create_index(
        "records_lost",
        "records",
        ["device", "seq"],
        sqlite_where=sa.text("kind = 'lost'"),
        postgresql_where=sa.text("kind = 'lost'"),
    )
    op.create_index(
        "records_effective",
        "records",
        ["level"],
        sqlite_where=sa.text("kind = 'rating' AND replaced_by IS NULL"),
        postgresql_where=sa.text("kind = 'rating' AND replaced_by IS NULL"),
    )
    op.create_index(
        "records_revisions",
        "records",
        ["device", "revises"],
        sqlite_where=sa.text("revises IS NOT NULL"),
        postgresql_where=sa.text("revises IS NOT NULL"),
    )
    op.create_index("evidence_by_kind", "evidence", ["kind", "place"])


def downgrade() -> None:
    """Refuse: this would drop ratings."""
    raise NotImplementedError("the first step cannot be undone: it would drop every rating")
