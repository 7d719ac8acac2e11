"""Alembic's entry: run the steps on the connection that store/database hands over.

There is no alembic.ini and no offline mode; the collector migrates its own database when it starts.
"""

from __future__ import annotations

from alembic import context

from collector.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
