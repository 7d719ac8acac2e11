"""Alembic's environment and the numbered steps; run by store/database at every start."""
