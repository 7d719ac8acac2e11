"""What devices say was receipted takes the place of waiting for an hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A journal that was adopted after an hour has a position already, and keeps it."""
    for name in ("first_seq", "first_met_ms", "adopted_seq"):
        op.drop_column("positions", name)
    op.add_column("positions", sa.Column("vouched_seq", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    """Wait for an hour again, from now on for every journal."""
    op.drop_column("positions", "vouched_seq")
    for name in ("first_seq", "first_met_ms"):
        op.add_column("positions", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("positions", sa.Column("adopted_seq", sa.BigInteger))
