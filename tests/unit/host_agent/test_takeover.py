"""A second client of the same name, told by how connections end."""

from __future__ import annotations

from host_agent.uplink.takeover import SHORT_IN_A_ROW, SHORT_S, STANDING_S, Takeover


def live(takeover: Takeover, begin_s: float, lasting_s: float, *, said_so: bool = False) -> bool:
    takeover.connected(begin_s)
    takeover.ended(begin_s + lasting_s, said_so=said_so)
    return takeover.is_suspected


def test_short_connections_in_a_row_are_suspect_and_others_are_not() -> None:
    takeover = Takeover()
    lives = [1.0] * (SHORT_IN_A_ROW - 1) + [SHORT_S + 1] + [1.0] * SHORT_IN_A_ROW
    suspected = [live(takeover, 100.0 * at, lasting_s) for at, lasting_s in enumerate(lives)]
    assert suspected == [False] * (len(lives) - 1) + [True]


def test_what_lasts_longer_only_because_we_come_back_more_slowly_is_suspect_still() -> None:
    takeover = Takeover()
    for at in range(SHORT_IN_A_ROW):
        live(takeover, 10.0 * at, 1.0)
    for at in range(5):
        assert live(takeover, 1000.0 + 100 * at, 40.0)
    assert not live(takeover, 2000.0, STANDING_S + 1)
    assert not live(takeover, 3000.0, 1.0)  # and once it is over, one short one means nothing


def test_a_broker_that_says_so_is_believed_at_once() -> None:
    assert live(Takeover(), 0.0, 3600.0, said_so=True)
