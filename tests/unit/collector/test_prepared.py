"""Statements that go straight to the driver: same answers, same errors, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from collector.store.prepared import Prepared
from collector.store.tables import positions
from tests.databases import Opened

_P = positions.c
KEYS = list(positions.c.keys())
INSERT = Prepared(sa.insert(positions), KEYS)
COUNT = Prepared(sa.select(sa.func.count()).where(_P.device == sa.bindparam("device")))
NUMBERS = Prepared(
    sa.select(_P.journal, _P.mac).where(_P.device == sa.bindparam("device"), _P.next_seq > 5).order_by(_P.journal)
)
FORWARD = Prepared(
    sa.update(positions).where(_P.device == sa.bindparam("device")).values(next_seq=_P.next_seq + 1, vouched_seq=7), []
)


def rows(*journals: int) -> list[tuple[object, ...]]:
    return [("PJ-0001", journal, 0, 10 * journal, bytes(16), "533103", "dating", "07", 1) for journal in journals]


def test_rows_values_and_counts_are_those_of_the_database(store: Opened) -> None:
    with store.writer.begin() as connection:
        INSERT.run_many(connection, rows(0, 1, 2))
        assert COUNT.value(connection, device="PJ-0001") == 3
        assert [(number, bytes(mac)) for number, mac in NUMBERS.rows(connection, device="PJ-0001")] == [
            (1, bytes(16)),
            (2, bytes(16)),
        ]
        assert NUMBERS.row(connection, device="PJ-0001") == NUMBERS.rows(connection, device="PJ-0001")[0]
        assert FORWARD.run(connection, device="PJ-0001") == 3
        assert FORWARD.run(connection, device="PJ-0002") == 0
        assert NUMBERS.row(connection, device="PJ-0002") is None
        assert NUMBERS.value(connection, device="PJ-0002") is None
        assert NUMBERS.rows(connection, device="PJ-0002") == []
    with store.writer.connect() as connection:
        assert connection.execute(sa.select(_P.next_seq, _P.vouched_seq)).all() == [(1, 7), (11, 7), (21, 7)]


def test_what_the_driver_says_is_sqlalchemys_error(store: Opened) -> None:
    def twice() -> None:
        with store.writer.begin() as connection:
            INSERT.run_many(connection, rows(0))
            INSERT.run(connection, **dict(zip(KEYS, rows(0)[0], strict=True)))

    with pytest.raises(sa.exc.IntegrityError) as refused:
        twice()
    assert not refused.value.connection_invalidated
    assert "INSERT INTO positions" in str(refused.value.statement)
    with store.writer.begin() as connection:
        assert COUNT.value(connection, device="PJ-0001") == 0, "undone with what came before it"


def test_without_a_transaction_there_is_no_statement(store: Opened) -> None:
    with store.writer.connect() as connection:
        with pytest.raises(sa.exc.InvalidRequestError, match="begin one first"):
            INSERT.run_many(connection, rows(0))
        with pytest.raises(sa.exc.InvalidRequestError, match="begin one first"):
            COUNT.value(connection, device="PJ-0001")
