"""The receipt on its last step: offered until it is taken, one at a time, and never what the device cannot know."""

from __future__ import annotations

from host_agent.link.events import Answered
from host_agent.link.handover import Handover
from protocol.messages import ErrorCode, Receipt


def receipt(next_seq: int) -> Receipt:
    return Receipt(next_seq=next_seq, record_mac=bytes(16), issued_ms=1, mac=bytes(16))


class Device:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def ask(self, one: Receipt) -> int:
        self.asked.append(one.next_seq)
        return len(self.asked)


def test_the_latest_known_receipt_is_offered_after_hello_unless_the_device_has_it() -> None:
    device, handover = Device(), Handover()
    handover.met(None)
    handover.offer(1, 10, device.ask)
    handover.met(receipt(5))
    handover.offer(5, 10, device.ask)
    handover.offer(6, 10, device.ask)
    assert device.asked == []
    handover.offer(4, 10, device.ask)
    assert device.asked == [5]


def test_a_receipt_beyond_what_the_device_holds_stays_here() -> None:
    device, handover = Device(), Handover()
    handover.met(receipt(500))
    handover.offer(1, 20, device.ask)
    assert device.asked == []


def test_one_is_on_the_line_at_a_time_and_then_the_latest() -> None:
    device, handover = Device(), Handover()
    handover.met(None)
    for seq in (2, 3, 9):
        assert handover.came(receipt(seq))
        handover.offer(0, 20, device.ask)
    assert not handover.came(receipt(9))
    assert not handover.came(receipt(4))
    assert device.asked == [2]
    assert not handover.answered(Answered(99, None), 20, device.ask)
    assert handover.answered(Answered(1, None), 20, device.ask)
    assert device.asked == [2, 9]
    assert handover.answered(Answered(2, None), 20, device.ask)
    assert device.asked == [2, 9]


def test_what_got_lost_is_offered_again_with_the_next_status() -> None:
    device, handover = Device(), Handover()
    handover.met(receipt(5))
    handover.offer(1, 10, device.ask)
    assert handover.answered(Answered(1, None, gave_up=True), 10, device.ask)
    assert device.asked == [5]
    handover.offer(1, 10, device.ask)
    handover.lost()
    handover.offer(1, 10, device.ask)
    assert device.asked == [5, 5, 5]


def test_a_device_that_refuses_is_not_asked_again_for_the_same() -> None:
    device, handover = Device(), Handover()
    handover.met(receipt(5))
    handover.offer(1, 10, device.ask)
    assert handover.answered(Answered(1, ErrorCode.RECEIPT), 10, device.ask)
    handover.offer(1, 10, device.ask)
    assert (device.asked, handover.refused) == ([5], 1)
    assert handover.came(receipt(6))
    handover.offer(1, 10, device.ask)
    assert device.asked == [5, 6]
