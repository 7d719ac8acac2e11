"""What is on its way, when it has to be sent again, and that no clock of the PC has a say in it."""

from __future__ import annotations

from host_agent.instant import Instant
from host_agent.uplink.delivery import CHECK_EVERY_S, PUBACK_WITHIN_S, RECEIPT_FIRST_S, RECEIPT_MOST_S, Delivery
from tests.agent_bench import at


def test_the_window_is_filled_and_emptied_by_pubacks() -> None:
    delivery = Delivery(3, at(0))
    for row in (11, 12, 13):
        delivery.published(row, 100 + row, at(0))
    assert delivery.room == 0
    assert delivery.after_id == 13
    assert delivery.is_in_flight(12)
    assert delivery.acknowledged(112) == 12
    assert delivery.room == 1
    assert not delivery.is_in_flight(12)


def test_a_puback_of_what_is_no_record_or_came_twice_is_nothing() -> None:
    delivery = Delivery(3, at(0))
    delivery.published(11, 1, at(0))
    assert delivery.acknowledged(99) is None
    assert delivery.acknowledged(1) == 11
    assert delivery.acknowledged(1) is None


def test_a_connection_without_pubacks_is_stuck_but_not_while_it_was_away() -> None:
    delivery = Delivery(3, at(0))
    assert not delivery.is_stuck(at(1000))
    delivery.published(11, 1, at(0))
    assert not delivery.is_stuck(at(PUBACK_WITHIN_S))
    assert delivery.is_stuck(at(PUBACK_WITHIN_S + 0.1))
    delivery.connected(at(600))  # ten minutes without a broker: the client has just begun to repeat
    assert not delivery.is_stuck(at(600 + PUBACK_WITHIN_S))
    assert delivery.is_stuck(at(600 + PUBACK_WITHIN_S + 0.1))
    delivery.forget()
    assert not delivery.is_stuck(at(10_000))
    assert (delivery.room, delivery.after_id) == (3, 0)


def test_what_waits_for_a_receipt_is_sent_again_ever_less_often() -> None:
    delivery = Delivery(3, at(0), ran_ms=1_000_000)
    assert delivery.overdue_before_ms(at(0)) == 1_000_000 - 60_000
    assert delivery.overdue_before_ms(at(CHECK_EVERY_S - 0.1)) is None
    assert delivery.deadline_s() == CHECK_EVERY_S
    waits, now_s = [], CHECK_EVERY_S
    for _ in range(8):
        # all that has waited for a minute, however long the pause has become: the one that is missed may be the youngest
        assert delivery.overdue_before_ms(at(now_s)) == 1_000_000 - 60_000 + now_s * 1000
        delivery.sent_again(at(now_s))
        waits.append(delivery.deadline_s() - now_s)
        assert delivery.overdue_before_ms(at(delivery.deadline_s() - 0.1)) is None
        now_s = delivery.deadline_s()
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, RECEIPT_MOST_S]
    delivery.receipted()
    assert delivery.overdue_before_ms(at(now_s + CHECK_EVERY_S)) is not None
    assert delivery.receipt_wait_s == RECEIPT_FIRST_S


def test_only_running_time_counts() -> None:
    delivery = Delivery(3, at(50), ran_ms=7000)
    day_ms = 86_400_000
    for jump_ms in (-day_ms, 0, day_ms):
        assert delivery.run_ms(Instant(60.0, at(60).utc_ms + jump_ms)) == 17_000
