"""When a record was written by the agent's reckoning."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "reckoned_ms": sa.BigInteger(),
    "reckoned_uncertainty_ms": sa.BigInteger(),
    "reckoned_quality": sa.String(12),
    "clock_jumped": sa.Boolean(),
}


def upgrade() -> None:
    """Add the columns; records that are here already have no such word."""
    for name, kind in COLUMNS.items():
        op.add_column("records", sa.Column(name, kind))


def downgrade() -> None:
    """Take the columns away."""
    for name in COLUMNS:
        op.drop_column("records", name)
