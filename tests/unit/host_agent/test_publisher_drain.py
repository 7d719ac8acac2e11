"""What the publisher does together when much is to be sent: reading from the outbox, noting what was acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host_agent.instant import Instant
from host_agent.store.outbox import Waiting
from host_agent.uplink.publisher import MARK_WITHIN_S, REFILL, WINDOW
from tests.unit.host_agent.test_publisher import PaperLink, Stage


class QueuedStage(Stage):
    """One whose publisher gets what was posted only when a test lets it."""

    def __init__(self, folder: Path) -> None:
        self.posted: list[Callable[[Instant], None]] = []
        super().__init__(folder)

    def post(self, what: Callable[[Instant], None]) -> None:
        self.posted.append(what)

    def turn(self, seconds: float = 0.0) -> None:
        posted, self.posted = self.posted, []
        for what in posted:
            what(self.now)
        self.step(seconds)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[QueuedStage]:
    PaperLink.made.clear()
    made = QueuedStage(tmp_path)
    made.connect()
    made.turn()
    yield made
    made.writer.close()


def acknowledge(stage: QueuedStage, seqs: range) -> None:
    sent = stage.seqs()
    first = len(stage.link.sent) - len(sent)  # state and health were sent before the records
    for seq in seqs:
        stage.link.listener.published(first + sent.index(seq) + 1)


def test_acks_that_come_before_the_next_turn_are_one_call_and_none_is_missed(stage: QueuedStage) -> None:
    stage.write(9)
    stage.turn()
    for seqs in (range(1, 5), range(5, 6), range(6, 10)):
        acknowledge(stage, seqs)
        assert len(stage.posted) == 1
        stage.turn(MARK_WITHIN_S)
        assert stage.outbox.waiting().sent == seqs[-1]


def test_acks_are_noted_together_after_a_while(stage: QueuedStage) -> None:
    stage.write(12)
    stage.turn()
    acknowledge(stage, range(1, 11))
    stage.turn()
    assert stage.outbox.waiting().sent == 0
    assert stage.publisher.deadline_s() <= stage.now.mono_s + MARK_WITHIN_S
    stage.turn(MARK_WITHIN_S)
    assert stage.outbox.waiting().sent == 10


def test_a_receipt_that_comes_before_the_note_is_the_only_commit(stage: QueuedStage) -> None:
    written = stage.write(2)
    stage.turn()
    acknowledge(stage, range(1, 3))
    stage.turn()
    stage.receipt(written[-1])
    stage.turn()
    changes = stage.writer.connection.total_changes
    stage.turn(MARK_WITHIN_S)
    assert stage.outbox.waiting() == Waiting(0, 0, None)
    assert stage.writer.connection.total_changes == changes
    assert stage.publisher.deadline_s() > stage.now.mono_s + MARK_WITHIN_S / 2, "nothing is left to be noted"


def test_the_outbox_is_read_when_there_is_room_for_many(stage: QueuedStage) -> None:
    stage.write(2 * WINDOW)
    stage.turn()
    assert len(stage.seqs()) == WINDOW
    acknowledge(stage, range(1, REFILL))
    stage.turn()
    assert len(stage.seqs()) == WINDOW
    acknowledge(stage, range(REFILL, REFILL + 1))
    stage.turn()
    assert stage.seqs() == list(range(1, WINDOW + REFILL + 1))


def test_what_was_acknowledged_is_noted_before_anything_is_sent_again(stage: QueuedStage) -> None:
    stage.write(1)
    stage.turn()
    acknowledge(stage, range(1, 2))
    stage.turn()
    stage.turn(MARK_WITHIN_S)
    stage.turn(56.0)  # checked now and every 5 s
    stage.turn(5.0 - MARK_WITHIN_S / 2)
    stage.write(30)
    stage.turn()
    acknowledge(stage, range(2, 12))
    stage.turn(MARK_WITHIN_S / 2)
    assert Counter(stage.seqs()) == Counter([1, *range(1, 32)])
