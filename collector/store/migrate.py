"""Bringing a database to the newest schema. Called by whoever opens one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest step, in one transaction; a look is enough where it is there already."""
    with engine.begin() as connection:
        if _present(connection) == [_newest()]:
            return
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _present(connection: sa.Connection) -> list[str]:
    """Return the step that the schema has come to: Alembic's table holds one row; none where there is no table."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return []
    return [row[0] for row in connection.exec_driver_sql("SELECT version_num FROM alembic_version")]


def _config() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _newest() -> str | None:
    """Return the newest step that this program knows; reading the steps takes longer than everything else at start."""
    return ScriptDirectory.from_config(_config()).get_current_head()
