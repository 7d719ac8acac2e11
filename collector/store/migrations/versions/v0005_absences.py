"""Windows tell of absences, and pages ask for who signed in, out, paused and resumed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

IS_PRESENCE = sa.text("kind IN ('sign_in', 'sign_out', 'paused', 'resumed')")


def upgrade() -> None:
    """Make room for them."""
    op.create_table(
        "absences",
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
    )
    op.create_index("absences_by_begin", "absences", ["begin_ms"])
    op.create_index("records_presence", "records", ["utc_ms"], sqlite_where=IS_PRESENCE, postgresql_where=IS_PRESENCE)


def downgrade() -> None:
    """Forget them: an agent that has had its answer does not repeat one."""
    op.drop_index("records_presence", "records")
    op.drop_table("absences")
