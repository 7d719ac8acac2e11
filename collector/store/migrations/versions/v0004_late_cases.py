"""A case may be named after its rating."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for them."""
    op.create_table(
        "late_cases",
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


def downgrade() -> None:
    """Forget them: an agent that has had its answer does not repeat one."""
    op.drop_table("late_cases")
