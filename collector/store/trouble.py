"""What a database error is about: the data, which will not change, or the database, which may come back.

Called by ingest/pipeline. Knows drivers by their errors, and imports none: PostgreSQL's is an extra.
"""

from __future__ import annotations

import sqlalchemy as sa

_ABOUT_THE_DATA = (sa.exc.IntegrityError, sa.exc.DataError, sa.exc.ProgrammingError)
_DATA_CLASSES = ("22", "23")
"""SQLSTATE classes: data exception, integrity constraint violation."""
_GONE = ("08", "57")
"""SQLSTATE classes: connection exception, operator intervention (stopped, starting, killed)."""
_FULL = "53100"


def is_about_the_data(error: sa.exc.DBAPIError) -> bool:
    """Tell whether trying again cannot change the refusal. A missing right or table is about the database, and may be put right."""
    if not _is_postgresql(error):
        return isinstance(error, _ABOUT_THE_DATA)
    state = _state(error)
    return state[:2] in _DATA_CLASSES if state else isinstance(error, sa.exc.DataError)


def sentence(error: sa.exc.DBAPIError) -> str:
    """Return what is wrong with the database, on one line, Chinese first."""
    said = " ".join(str(error.orig).split())
    state = _state(error)
    if state == _FULL or "database or disk is full" in said:
        return f"数据库磁盘已满 the database's disk is full: {said}"
    # an error of the connection itself comes from no server and has no state
    is_connection = isinstance(error, sa.exc.OperationalError) and not state
    if _is_postgresql(error) and (is_connection or state[:2] in _GONE):
        return f"数据库服务器已断开 the database server is gone: {said}"
    return f"数据库写入失败 the database refuses a write: {said}"


def _is_postgresql(error: sa.exc.DBAPIError) -> bool:
    return hasattr(error.orig, "sqlstate")


def _state(error: sa.exc.DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
