"""Which port is tried when."""

from __future__ import annotations

from host_agent.link.search import ROUND_MOST_S, Search
from tests.agent_bench import at


def waits(search: Search, rounds: int) -> list[float]:
    found, now_s = [], 0.0
    for _ in range(rounds):
        search.failed(at(now_s))
        found.append(round(search.deadline_s() - now_s, 3))
        now_s = search.deadline_s()
    return found


def test_a_configured_port_is_the_only_one_and_tried_ever_less_often() -> None:
    search = Search("COM7")
    assert not search.needs_candidates
    assert search.next_port(at(0)) == "COM7"
    assert waits(search, 7) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert not search.needs_candidates
    assert search.next_port(at(0)) is None
    assert search.next_port(at(100)) == "COM7"


def test_a_device_that_was_found_is_looked_for_at_once_when_it_goes() -> None:
    search = Search("COM7")
    waits(search, 9)
    search.found("COM7")
    search.failed(at(100))
    assert search.deadline_s() == 100.2


def test_every_port_has_its_turn_and_then_the_list_is_made_anew() -> None:
    search = Search(None)
    assert search.needs_candidates
    assert search.next_port(at(0)) is None
    search.candidates(["COM3", "COM1"], at(0))
    assert search.next_port(at(0)) == "COM1"
    search.failed(at(0))
    assert search.next_port(at(0)) == "COM3"
    wanted = [search.needs_candidates]
    search.failed(at(3))
    assert [*wanted, search.needs_candidates] == [False, True]
    assert search.deadline_s() == 3.2


def test_no_port_at_all_is_a_round_too() -> None:
    search = Search(None)
    search.candidates([], at(0))
    assert waits(search, 6)[-1] == ROUND_MOST_S


def test_the_port_that_worked_comes_first_in_a_new_list() -> None:
    search = Search(None)
    search.candidates(["COM1", "COM2", "COM3"], at(0))
    search.failed(at(0))
    search.found("COM2")
    search.failed(at(1000))  # hours later: the rest of that old list is not worth three seconds a port
    assert search.needs_candidates
    search.candidates(["COM1", "COM2", "COM3"], at(0))
    assert search.next_port(at(1001)) == "COM2"
