"""What a batch leaves in the store: once per record, gaps and breaks by name, receipts never beyond what is stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa

from collector.ingest.core import Ingest, Message, Taken
from collector.store import ratings
from collector.store.tables import evidence, positions, records
from protocol.messages import Receipt
from protocol.payloads import Case, ReceiptPayload, Reckoned, RecordEvent
from protocol.record import SEQ_SPAN, Kind, Record, RecordFlag
from protocol.signing import receipt_is_genuine
from protocol.topics import Down, Up, Window
from tests.chains import CASE, EPOCH_MS, EVALUATION, HALL_KEY, OTHER_KEY, WINDOW, PaperDevice
from tests.databases import Opened

HOUR_MS = 3_600_000


class Bench:
    """A collector over an empty database, fed by hand."""

    def __init__(self, store: Opened) -> None:
        self.engine = store.writer
        self.ingest = Ingest(self.engine, {"533103/dating": HALL_KEY})
        self.now_ms = EPOCH_MS + HOUR_MS

    def take(self, device: PaperDevice, written: Iterable[Record], **more: Any) -> Taken:
        return self.ingest.take([Message(*device.message(record, **more)) for record in written], self.now_ms)

    def links(self) -> dict[int, str]:
        with self.engine.connect() as connection:
            return dict(connection.execute(sa.select(records.c.seq, records.c.link)).all())

    def evidence(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            return dict(connection.execute(sa.select(evidence.c.kind, evidence.c.count)).all())

    def gaps(self) -> list[tuple[int, int | None]]:
        with self.engine.connect() as connection:
            return [(gap.first_seq, gap.last_seq) for gap in ratings.gaps(connection)]

    def levels(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            return {level: count for level, count in ratings.level_counts(connection).items() if count}


def receipt(taken: Taken, device: PaperDevice) -> int | None:
    """The one receipt in what was taken, checked as the device would; its next_seq."""
    if not taken.publish:
        return None
    assert len(taken.publish) == 1
    assert taken.publish[0].topic == "hcp/v1/533103/dating/07/down/receipt"
    payload = ReceiptPayload.from_json(taken.publish[0].payload)
    signed = Receipt(
        next_seq=payload.next_seq,
        record_mac=bytes.fromhex(payload.record_mac),
        issued_ms=payload.issued_ms,
        mac=bytes.fromhex(payload.mac),
    )
    assert payload.device == device.device
    assert receipt_is_genuine(device.key, device.device, signed)
    last = next(record for record in device.written if record.seq == payload.next_seq - 1)
    assert signed.record_mac == last.mac
    return payload.next_seq


@pytest.fixture
def bench(store: Opened) -> Bench:
    return Bench(store)


def test_a_whole_chain_is_stored_and_receipted(bench: Bench) -> None:
    device = PaperDevice()
    taken = bench.take(device, device.write_many(6))
    assert receipt(taken, device) == 7
    assert bench.links() == {1: "start"} | dict.fromkeys(range(2, 7), "linked")
    assert (taken.counts["stored"], bench.gaps(), bench.evidence()) == (6, [], {})


def test_a_duplicate_is_counted_and_receipted_again(bench: Bench) -> None:
    device = PaperDevice()
    written = device.write_many(3)
    bench.take(device, written)
    taken = bench.take(device, [*written, *written])
    assert (taken.counts["duplicate"], taken.counts["stored"]) == (6, 0)
    assert receipt(taken, device) == 4


def test_a_receipt_never_passes_a_hole_and_follows_when_it_is_filled(bench: Bench) -> None:
    device = PaperDevice()
    one, two, three, four, five = device.write_many(5)
    assert receipt(bench.take(device, [one, two, four]), device) == 3
    assert bench.links()[4] == "gap_before"
    assert bench.gaps() == [(3, 3)]
    assert receipt(bench.take(device, [five]), device) == 3
    assert receipt(bench.take(device, [three]), device) == 6
    assert bench.gaps() == []


def test_nothing_is_receipted_while_the_start_may_still_be_on_its_way(bench: Bench) -> None:
    device = PaperDevice()
    *early, late = device.write_many(5)
    assert bench.take(device, [late]).publish == []
    assert bench.gaps() == [(1, 4)]
    assert receipt(bench.take(device, early), device) == 6


def test_a_journal_met_in_its_middle_waits_for_its_start_however_long(bench: Bench) -> None:
    device = PaperDevice()
    start, *others = device.write_many(4)
    for _ in range(50):
        bench.now_ms += HOUR_MS
        assert bench.take(device, others).publish == []
    assert receipt(bench.take(device, [start]), device) == 5


def test_what_the_device_says_was_receipted_is_not_waited_for_and_stays_named(bench: Bench) -> None:
    device = PaperDevice(next_seq=500, prev_mac=bytes(range(16)))
    held = device.write_many(3)
    assert bench.take(device, held).publish == []
    boot = device.write(Kind.BOOT, refers_to=502)  # 502 itself had no receipt then
    assert receipt(bench.take(device, [boot]), device) == 504
    assert receipt(bench.take(device, device.write_many(1)), device) == 505
    assert bench.gaps() == [(1, 499)]


def test_what_had_no_receipt_is_waited_for_whatever_boot_records_say_of_others(bench: Bench) -> None:
    device = PaperDevice(next_seq=500, prev_mac=bytes(range(16)))
    receipted, missing, other = device.write_many(3)
    boot = device.write(Kind.BOOT, refers_to=501)
    assert receipt(bench.take(device, [receipted, other, boot]), device) == 501
    assert receipt(bench.take(device, [missing]), device) == 504
    assert bench.gaps() == [(1, 499)]


def test_a_collection_set_back_goes_on_behind_what_it_has_forgotten(bench: Bench) -> None:
    device = PaperDevice()
    kept, _forgotten, new = device.write_many(2), device.write_many(5), device.write_many(1)
    assert receipt(bench.take(device, kept), device) == 3
    assert receipt(bench.take(device, new), device) == 3
    assert receipt(bench.take(device, [device.write(Kind.BOOT, refers_to=8)]), device) == 10
    assert bench.gaps() == [(3, 7)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_newest_word_on_receipts_counts_in_any_order(bench: Bench, order: tuple[int, ...]) -> None:
    device = PaperDevice(next_seq=500, prev_mac=bytes(range(16)))
    written = [device.write(), device.write(Kind.BOOT, refers_to=500), device.write(Kind.BOOT, refers_to=490)]
    taken = [bench.take(device, [written[at]]) for at in order][-1]
    assert receipt(taken, device) == 503


def test_a_second_genuine_record_with_the_same_number_is_kept_as_conflict(bench: Bench) -> None:
    device = PaperDevice()
    device.write_many(2)
    twin = device.fork()
    bench.take(device, [*device.written, device.write(level=1)])
    bench.take(twin, [twin.write(level=5)])
    assert bench.evidence() == {"conflict": 1}
    assert bench.levels()["very_dissatisfied"] == 1


def test_two_histories_in_one_batch_are_a_conflict_too(bench: Bench) -> None:
    device = PaperDevice()
    device.write_many(2)
    twin = device.fork()
    bench.take(device, [*device.written, device.write(level=1), twin.write(level=5)])
    assert bench.evidence() == {"conflict": 1}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_break_in_the_chain_is_named_whatever_came_first(bench: Bench, order: tuple[int, ...]) -> None:
    device = PaperDevice()
    device.write_many(2)
    device.prev_mac = bytes(range(16))
    device.write_many(2)
    for at in order:
        taken = bench.take(device, [device.written[at]])
    assert bench.links() == {1: "start", 2: "linked", 3: "broken", 4: "linked"}
    assert bench.evidence() == {"broken_chain": 1}
    assert receipt(taken, device) == 3


def test_a_journal_start_that_does_not_say_so_is_broken(bench: Bench) -> None:
    device = PaperDevice(prev_mac=bytes(range(16)))
    assert bench.take(device, [device.write()]).publish == []
    assert bench.evidence() == {"broken_chain": 1}


def test_the_devices_word_about_lost_records_closes_a_gap(bench: Bench) -> None:
    device = PaperDevice()
    device.write_many(9)
    device.write(Kind.LOST, refers_to=4, value=3)
    kept = [record for record in device.written if record.seq not in (4, 5, 6)]
    assert receipt(bench.take(device, kept[:-1]), device) == 4
    assert bench.gaps() == [(4, 6)]
    assert receipt(bench.take(device, kept[-1:]), device) == 11
    assert (bench.links()[7], bench.gaps()) == ("after_lost", [])


def test_a_lost_word_that_covers_only_a_part_leaves_the_rest_named(bench: Bench) -> None:
    device = PaperDevice()
    device.write_many(9)
    device.write(Kind.LOST, refers_to=5, value=2)
    kept = [record for record in device.written if record.seq not in (4, 5, 6)]
    assert receipt(bench.take(device, kept), device) == 4
    assert bench.gaps() == [(4, 4)]
    # number 4 was still on its way
    assert receipt(bench.take(device, [device.written[3]]), device) == 11
    assert bench.gaps() == []


def test_a_chain_over_a_loss_that_the_collection_did_not_suffer_is_whole(bench: Bench) -> None:
    device = PaperDevice()
    three = device.write_many(5)[2]
    bench.take(device, device.written)
    device.prev_mac = three.mac  # the device no longer knows 4 and 5
    boot = device.write(Kind.BOOT)
    lost = device.write(Kind.LOST, refers_to=4, value=2)
    assert receipt(bench.take(device, [boot, lost]), device) == 8
    assert (bench.links()[6], bench.evidence()) == ("after_lost", {})


def test_a_new_journal_is_receipted_and_the_end_of_the_old_one_stays_named(bench: Bench) -> None:
    device = PaperDevice()
    device.write_many(5)
    bench.take(device, device.written[:3])
    device.new_journal()
    start = device.write_many(2)
    assert receipt(bench.take(device, start), device) == SEQ_SPAN + 3
    assert bench.links()[SEQ_SPAN + 1] == "start"
    assert bench.gaps() == [(4, None)]
    # what an agent still held of the old journal gets its own receipt
    assert receipt(bench.take(device, device.written[3:5]), device) == 6
    assert receipt(bench.take(device, device.write_many(1)), device) == SEQ_SPAN + 4


def test_a_forgery_is_kept_once_and_counted(bench: Bench) -> None:
    device = PaperDevice(hall_key=OTHER_KEY)
    written = device.write_many(1)
    first, second = bench.take(device, written), bench.take(device, written)
    assert (len(first.evidence), len(second.evidence)) == (1, 0)
    assert (first.publish, bench.links(), bench.evidence()) == ([], {}, {"wrong_key": 2})


def test_a_case_that_comes_with_the_repetition_is_filled_in(bench: Bench) -> None:
    device = PaperDevice()
    record = device.write(evaluation=EVALUATION, case=CASE)
    for case, expected in (
        (None, None),
        (Case(case_no="wrong"), False),
        (CASE, True),
        (Case(case_no="wrong"), True),
        (None, True),
    ):
        bench.take(device, [record], case=case)
        with bench.engine.connect() as connection:
            row = connection.execute(sa.select(records.c.case_matches, records.c.case_json)).one()
        assert row == (expected, CASE.to_json().decode() if expected else None)
    assert bench.evidence() == {"case_mismatch": 2}


def test_records_over_two_windows_get_receipts_at_both(bench: Bench) -> None:
    device = PaperDevice()
    one, two = device.write_many(2)
    other = Window("533103", "dating", "08")
    taken = bench.ingest.take([Message(*device.message(one)), Message(*device.message(two, window=other))], bench.now_ms)
    assert [message.topic for message in taken.publish] == [WINDOW.down(Down.RECEIPT), other.down(Down.RECEIPT)]


def test_a_batch_that_fails_stores_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    device = PaperDevice()
    written = device.write_many(3)

    def fail(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("insert", {}, Exception("disk full"))

    with monkeypatch.context() as patch:
        patch.setattr("collector.store.standing.save_position", fail)
        with pytest.raises(sa.exc.OperationalError):
            bench.take(device, written)
    assert bench.links() == {}
    assert receipt(bench.take(device, written), device) == 4


def test_times_beyond_a_database_integer_do_not_stop_a_batch(bench: Bench) -> None:
    device = PaperDevice()
    message = Message("hcp/v1/x", b"\xff" * 5000)
    taken = bench.ingest.take([message, Message(*device.message(device.write()))], bench.now_ms)
    assert (taken.counts["malformed"], taken.counts["stored"]) == (1, 1)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_last_change_of_mind_counts_and_nothing_else(bench: Bench, backwards: bool) -> None:
    device = PaperDevice()
    device.write(Kind.BOOT)
    device.write(level=1, evaluation=EVALUATION)
    device.write(level=2, flags=RecordFlag.REVISION, refers_to=2, evaluation=EVALUATION)
    device.write(level=4, flags=RecordFlag.REVISION, refers_to=3, evaluation=EVALUATION)
    device.write(Kind.EXTRA, level=5, refers_to=4, evaluation=EVALUATION)
    device.write(Kind.EXPIRED)
    device.write(Kind.CANCELLED)
    device.write(level=3, flags=RecordFlag.FREE_STANDING)
    for record in reversed(device.written) if backwards else device.written:
        bench.take(device, [record])
    assert bench.levels() == {"satisfied": 1, "basically_satisfied": 1}


@pytest.mark.parametrize("backwards", [False, True])
def test_two_changes_of_the_same_rating_leave_one(bench: Bench, backwards: bool) -> None:
    device = PaperDevice()
    device.write(level=1)
    device.write(level=2, flags=RecordFlag.REVISION, refers_to=1)
    device.write(level=4, flags=RecordFlag.REVISION, refers_to=1)
    for record in reversed(device.written) if backwards else device.written:
        bench.take(device, [record])
    assert bench.levels() == {"satisfied": 1}


def test_positions_never_go_back(bench: Bench) -> None:
    device = PaperDevice()
    bench.take(device, device.write_many(4))
    bench.take(device, device.written[:1])
    with bench.engine.connect() as connection:
        assert connection.execute(sa.select(positions.c.next_seq)).scalar_one() == 5


def test_the_agents_reckoning_is_kept_beside_what_the_device_signed(bench: Bench) -> None:
    device = PaperDevice()
    first, second = device.write_many(2)
    reckoned = Reckoned(at_ms=EPOCH_MS + 5, uncertainty_ms=12, quality="fitted", clock_jumped=True)
    payloads = [
        RecordEvent.of(WINDOW.path, device.device, record, record.pack(), EPOCH_MS, None, False, word).to_json()
        for record, word in ((first, reckoned), (second, None))
    ]
    bench.ingest.take([Message(WINDOW.up(Up.RECORD), payload) for payload in payloads], EPOCH_MS)
    columns = (records.c.reckoned_ms, records.c.reckoned_uncertainty_ms, records.c.reckoned_quality, records.c.clock_jumped)
    with bench.engine.connect() as connection:
        rows = connection.execute(sa.select(*columns).order_by(records.c.seq)).all()
    assert [tuple(row) for row in rows] == [(EPOCH_MS + 5, 12, "fitted", True), (None, None, None, None)]
