"""Windows tell how their devices are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for the last word on each."""
    op.add_column("windows", sa.Column("device_health", sa.Text))


def downgrade() -> None:
    """Forget it: every agent says it again within seconds."""
    op.drop_column("windows", "device_health")
