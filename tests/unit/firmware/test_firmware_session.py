"""What presses mean: one rating per evaluation, a change of mind for a while, extras that never count."""

from __future__ import annotations

import pytest

from firmware.evaluator import wire
from firmware.evaluator.feedback import SOUND_CALL, SOUND_TEXTS, SOUND_THANKS, SOUND_WELCOME
from firmware.evaluator.journal import RESERVED
from protocol.messages import (
    Cancel,
    CancelReason,
    Condition,
    Done,
    Error,
    ErrorCode,
    Language,
    Open,
    Pause,
    PauseReason,
    Prompt,
    Resume,
    Say,
    SessionState,
    SignIn,
    SignOut,
)
from protocol.record import Kind, Record, RecordFlag
from simulator.device.in_process import BenchDevice
from simulator.hardware.flash import SECTOR_BYTES, MemoryFlash
from tests.device_bench import DIGEST, EVALUATION, OTHER_EVALUATION, Host, bench

MEANT = (Kind.RATING, Kind.EXTRA, Kind.EXPIRED, Kind.CANCELLED)


def asking(evaluation: bytes = EVALUATION, timeout_ms: int = 60_000) -> Open:
    return Open(evaluation=evaluation, context_digest=DIGEST, timeout_ms=timeout_ms, language=Language.MANDARIN)


def counter(**settings: int | bool) -> tuple[BenchDevice, Host]:
    device = bench(None, now=0, **settings)
    return device, Host(device).join()


def meant(host: Host) -> list[Record]:
    host.listen(60)
    return host.of(*MEANT)


@pytest.mark.parametrize(("button", "level"), list(enumerate([5, 4, 3, 2, 1])))
def test_a_press_rates_the_open_evaluation(button: int, level: int) -> None:
    device, host = counter()
    host.ask(asking(), Done)
    device.run(1234)
    device.press(button)
    (record,) = meant(host)
    assert (record.kind, record.level, record.evaluation, record.context_digest) == (Kind.RATING, level, EVALUATION, DIGEST)
    assert record.flags == RecordFlag(0)
    assert 1234 <= record.value < 1300
    assert host.status().state is SessionState.CHANGEABLE
    assert host.status().evaluation == EVALUATION


def test_a_press_without_evaluation_stands_free() -> None:
    device, host = counter()
    device.press(1)
    (record,) = meant(host)
    assert (record.flags, record.evaluation, record.context_digest, record.value) == (
        RecordFlag.FREE_STANDING,
        bytes(16),
        bytes(16),
        0,
    )


def test_a_press_needs_no_host() -> None:
    device = bench()
    device.press(2)
    assert device.board.sounds == [SOUND_THANKS]
    host = Host(device).join()
    host.listen(60)
    assert [record.kind for record in host.records] == [Kind.BOOT, Kind.RATING]
    assert all(RecordFlag.NO_HOST in record.flags for record in host.records)


def test_nobody_presses_and_it_expires() -> None:
    device, host = counter()
    host.ask(asking(timeout_ms=2000), Done)
    host.listen(2100)
    (record,) = meant(host)
    assert (record.kind, record.level, record.evaluation) == (Kind.EXPIRED, 0, EVALUATION)
    assert 2000 <= record.value < 2010
    device.press(3)
    assert meant(host)[-1].flags == RecordFlag.FREE_STANDING


def test_cancelled_by_staff_and_superseded_by_another() -> None:
    _, host = counter()
    host.ask(asking(), Done)
    host.ask(asking(OTHER_EVALUATION), Done)
    host.ask(Cancel(evaluation=OTHER_EVALUATION, reason=CancelReason.BY_STAFF), Done)
    ended = [(record.kind, record.evaluation, record.detail) for record in meant(host)]
    assert ended == [
        (Kind.CANCELLED, EVALUATION, CancelReason.SUPERSEDED),
        (Kind.CANCELLED, OTHER_EVALUATION, CancelReason.BY_STAFF),
    ]
    assert host.status().state is SessionState.IDLE


def test_a_change_of_mind_within_3_s_refers_to_the_rating_before() -> None:
    device, host = counter()
    host.ask(asking(), Done)
    for button in (0, 4, 1):
        device.press(button)
        device.run(400)
    first, second, third = meant(host)
    assert [record.level for record in (first, second, third)] == [5, 1, 4]
    assert second.flags == third.flags == RecordFlag.REVISION
    assert (second.refers_to, third.refers_to) == (first.seq, second.seq)
    assert second.evaluation == third.evaluation == EVALUATION
    assert second.value > first.value, "the time since the evaluation was opened, also for a revision"


def test_a_change_of_mind_does_not_prolong_the_time_for_it() -> None:
    device, host = counter()
    device.press(0)
    device.run(2600)
    device.press(1)
    device.run(400)
    device.press(2)
    assert [record.kind for record in meant(host)] == [Kind.RATING, Kind.RATING, Kind.EXTRA]
    assert meant(host)[1].flags == RecordFlag.REVISION | RecordFlag.FREE_STANDING


def test_the_same_button_again_is_extra() -> None:
    device, host = counter()
    device.press(3)
    device.press(3)
    rating, extra = meant(host)
    assert (extra.kind, extra.level, extra.refers_to, extra.value) == (Kind.EXTRA, 2, rating.seq, 0)


def test_one_rating_per_evaluation_however_often_somebody_presses() -> None:
    device, host = counter()
    host.ask(asking(), Done)
    device.press(0)
    device.run(3000)
    for button in [4, 3, 2, 1, 0, 4, 3, 2]:
        device.press(button)
        device.run(200)
    records = meant(host)
    assert [record.kind for record in records] == [Kind.RATING] + [Kind.EXTRA] * 5
    assert {record.refers_to for record in records[1:]} == {records[0].seq}


def test_a_late_scan_does_not_stretch_the_3_s() -> None:
    """An erase may stop the loop for 400 ms; what counts is when the press is seen."""
    device, host = counter()
    device.press(0)
    device.run(2700)
    device.now += 400
    device.board.down = 1 << 4
    device.device.step(device.now)
    device.board.down = 0
    assert [record.kind for record in meant(host)] == [Kind.RATING, Kind.EXTRA]


def test_after_10_s_the_next_citizen_rates() -> None:
    device, host = counter()
    device.press(0)
    device.run(9700)
    device.press(4)
    device.run(300)
    device.press(4)
    assert [record.kind for record in meant(host)] == [Kind.RATING, Kind.EXTRA, Kind.RATING]


def test_settings_move_both_times() -> None:
    device, host = counter(change_ms=0, rest_ms=500)
    device.press(0)
    device.press(1)
    device.run(500)
    device.press(2)
    assert [record.kind for record in meant(host)] == [Kind.RATING, Kind.EXTRA, Kind.RATING]


def test_repeated_requests_change_nothing() -> None:
    device, host = counter()
    for _ in range(3):
        host.ask(asking(), Done)
    device.press(0)
    for _ in range(3):
        host.ask(asking(), Done)
        host.ask(Cancel(evaluation=EVALUATION, reason=CancelReason.BY_STAFF), Done)
    assert host.status().state is SessionState.CHANGEABLE
    device.run(11_000)
    host.join(host.next_seq)
    host.ask(asking(), Done)
    assert host.status().state is SessionState.IDLE, "it has just ended: opening it again is a repetition"
    assert [record.kind for record in meant(host)] == [Kind.RATING]


def test_repeated_cancel_writes_one_record() -> None:
    _, host = counter()
    host.ask(asking(), Done)
    for _ in range(3):
        host.ask(Cancel(evaluation=EVALUATION, reason=CancelReason.BY_STAFF), Done)
    assert len(meant(host)) == 1


def test_a_stranger_is_not_cancelled() -> None:
    _, host = counter()
    host.ask(asking(), Done)
    for stranger in (OTHER_EVALUATION, bytes(16)):
        answer = host.ask(Cancel(evaluation=stranger, reason=CancelReason.BY_STAFF), Error)
        assert answer.code is ErrorCode.EVALUATION
    assert host.status().evaluation == EVALUATION


def test_opening_the_next_one_ends_the_rest_after_a_rating_at_once() -> None:
    device, host = counter()
    host.ask(asking(), Done)
    device.press(0)
    host.ask(asking(OTHER_EVALUATION), Done)
    device.press(4)
    assert [(record.evaluation, record.level) for record in meant(host)] == [(EVALUATION, 5), (OTHER_EVALUATION, 1)]


def test_staff_is_bound_into_every_record_and_signing_out_names_who_left() -> None:
    device, host = counter()
    for _ in range(2):
        host.ask(SignIn(staff="017"), Done)
    device.press(0)
    for _ in range(2):
        host.ask(SignOut(), Done)
    device.run(11_000)
    host.join(host.next_seq)
    device.press(0)
    host.listen(60)
    told = [(record.kind, record.staff) for record in host.records if record.kind is not Kind.BOOT]
    assert told == [(Kind.SIGN_IN, "017"), (Kind.RATING, "017"), (Kind.SIGN_OUT, "017"), (Kind.RATING, "")]


def test_the_device_says_what_the_host_asks_for_in_its_language_and_records_nothing() -> None:
    device, host = counter()
    spoken: list[tuple[int, int]] = []
    device.board.sound = lambda number, language: spoken.append((number, language))  # type: ignore[method-assign]  # to hear the language too
    before = host.status().next_seq
    for request in (
        Say(prompt=Prompt.WELCOME, number=0, language=Language.DEVICE_SETTING),
        Say(prompt=Prompt.CALL, number=0, language=Language.DAI),
        Say(prompt=Prompt.TEXT, number=1, language=Language.JINGPO),
        Say(prompt=Prompt.TEXT, number=device.board.texts, language=Language.MANDARIN),
    ):
        host.ask(request, Done)
    assert spoken == [(SOUND_WELCOME, 0), (SOUND_CALL, 2), (SOUND_TEXTS, 3), (SOUND_TEXTS + device.board.texts - 1, 1)]
    for wrong in (
        Say(prompt=Prompt.WELCOME, number=1, language=Language.DAI),
        Say(prompt=Prompt.TEXT, number=0, language=Language.DAI),
        Say(prompt=Prompt.TEXT, number=device.board.texts + 1, language=Language.DAI),
    ):
        assert host.ask(wrong, Error).code is ErrorCode.VALUE
    assert len(spoken) == 4
    assert host.status().next_seq == before


def test_speaking_does_not_touch_the_lamps() -> None:
    device, host = counter()
    host.ask(asking(), Done)
    lamps = list(device.board.lamp_changes)
    host.ask(Say(prompt=Prompt.CALL, number=0, language=Language.DAI), Done)
    assert device.board.lamp_changes == lamps


def test_presses_are_taken_and_flagged_while_the_window_is_paused() -> None:
    device, host = counter()
    for _ in range(2):
        host.ask(Pause(reason=PauseReason.MEETING), Done)
    assert Condition.PAUSED in host.status().conditions
    device.press(0)
    for _ in range(2):
        host.ask(Resume(), Done)
    host.listen(60)
    paused, rating, resumed = host.records[1:]
    assert (paused.kind, paused.detail, resumed.kind) == (Kind.PAUSED, PauseReason.MEETING, Kind.RESUMED)
    assert RecordFlag.WHILE_PAUSED in rating.flags
    assert Condition.PAUSED not in host.status().conditions


def test_after_a_restart_nothing_is_open_and_nobody_signed_in() -> None:
    device, host = counter()
    host.ask(SignIn(staff="017"), Done)
    host.ask(Pause(reason=PauseReason.BREAK), Done)
    host.ask(asking(), Done)
    device.power_on()
    host = Host(device).join()
    status = host.status()
    assert (status.state, status.staff, status.conditions) == (SessionState.IDLE, "", Condition(0))


def nearly_full(left: int) -> tuple[BenchDevice, Host]:
    device = bench(MemoryFlash(2), change_ms=0, rest_ms=10)
    host = Host(device).join()
    while device.device.journal.free() > left:
        device.press(0, hold_ms=32)
        host.listen(20)
        assert len(host.records) < 70
    host.listen(2000)
    return device, host


def test_open_is_refused_when_its_rating_would_find_no_room() -> None:
    device, host = nearly_full(0)
    assert host.ask(asking(), Error).code is ErrorCode.JOURNAL_FULL
    assert host.status().state is SessionState.IDLE
    assert device.board.lit & 31 == 0, "nobody is invited to what would be refused"
    assert Condition.JOURNAL_FULL in host.status().conditions


def test_superseding_takes_two_records_and_happens_whole_or_not_at_all() -> None:
    device, host = nearly_full(1)
    host.ask(asking(), Done)
    assert host.ask(asking(OTHER_EVALUATION), Error).code is ErrorCode.JOURNAL_FULL
    assert host.status().evaluation == EVALUATION, "the first one is still open"
    device.press(3)
    assert meant(host)[-1].evaluation == EVALUATION


def test_an_evaluation_that_expires_without_room_is_recorded_when_there_is_some() -> None:
    device, host = nearly_full(1)
    host.ask(asking(timeout_ms=1000), Done)
    device.press(0)
    device.run(20)
    assert device.device.journal.free() == 0
    host.ask(host.receipt(host.next_seq), Done)
    host.ask(asking(OTHER_EVALUATION, timeout_ms=1000), Done)
    host.listen(1100)
    assert meant(host)[-1].kind is Kind.EXPIRED


def test_a_receipt_makes_room_and_the_red_lamp_goes_out() -> None:
    device, host = nearly_full(0)
    device.press(0)
    device.run(2000)
    assert device.board.lit == 0b100000
    host.ask(host.receipt(host.next_seq), Done)
    device.run(20)
    assert device.board.lit == 0
    assert Condition.JOURNAL_FULL not in host.status().conditions
    device.press(4)
    assert meant(host)[-1].level == 1


def test_a_device_that_releases_on_ack_has_room_after_it() -> None:
    device = bench(MemoryFlash(2), change_ms=0, rest_ms=10, release_on_ack=True)
    for _ in range(70):
        device.press(0, hold_ms=32)
    assert device.board.lit == 0b100000
    host = Host(device).join()
    host.listen(2500)
    assert device.board.lit == 0
    assert len(host.records) == 60 - RESERVED


def test_a_full_device_refuses_loses_nothing_and_goes_on_after_a_receipt() -> None:
    """The whole of it: presses while nobody collects, refusal, alarm, a restart, damage, and room again."""
    device = bench(MemoryFlash(2), change_ms=0, rest_ms=10)
    host = Host(device).join()
    thanked = 0
    while not host.errors:
        device.board.sounds.clear()
        device.press(2, hold_ms=32)
        thanked += device.board.sounds.count(SOUND_THANKS)
        host.listen(20)
        assert len(host.records) < 70
    assert [(error.code, error.about) for error in host.errors] == [(ErrorCode.JOURNAL_FULL, 0)], (
        "an alarm that nobody asked for"
    )
    assert thanked == len(host.of(Kind.RATING)) == 60 - RESERVED - 1
    status = host.status()
    assert (status.free, Condition.JOURNAL_FULL in status.conditions) == (0, True)
    before = bytes(device.flash.content)
    device.press(2, hold_ms=32)
    assert device.board.sounds.count(SOUND_THANKS) == 0
    assert host.ask(SignIn(staff="017"), Error).code is ErrorCode.JOURNAL_FULL
    assert host.ask(asking(), Error).code is ErrorCode.JOURNAL_FULL
    host.listen(2000)
    assert bytes(device.flash.content) == before, "nothing was overwritten, not even by idling"
    device.power_on()
    host = Host(device).join()
    host.listen(1500)
    device.press(2, hold_ms=32)
    host.listen(20)
    assert bytes(device.flash.content) == before, "nor by a start: a boot record would find no rating after it"
    assert len(host.records) == 60 - RESERVED
    # one record is damaged now: without the word about it the collector could not sign for what follows
    device.flash.content[256 + 128 * 10 + 50] ^= 1
    host = Host(device).join()
    host.listen(1500)
    (lost,) = host.of(Kind.LOST)
    assert (lost.refers_to, lost.value) == (11, 1)
    assert Condition.JOURNAL_FULL in host.status().conditions, "that it was written makes no room for a rating"
    host.ask(host.receipt(host.next_seq), Done)
    status = host.status()
    assert status.free > 0
    assert Condition.JOURNAL_FULL not in status.conditions
    device.board.sounds.clear()
    device.press(2, hold_ms=32)
    host.listen(100)
    assert device.board.sounds.count(SOUND_THANKS) == 1
    assert host.records[-1].kind is Kind.RATING
    assert host.records[-1].prev_mac == lost.mac


def test_what_a_full_device_had_no_room_to_call_lost_is_called_so_when_there_is_room_again() -> None:
    device = bench(MemoryFlash(2), change_ms=0, rest_ms=10)
    host = Host(device).join()
    while not host.errors:
        device.press(2, hold_ms=32)
        host.listen(20)
    damaged = [31 + n for n in range(2, 2 * RESERVED + 6, 2)]
    for seq in damaged:
        device.flash.content[SECTOR_BYTES + 256 + 128 * (seq - 31) + 50] ^= 1
    host = Host(device).join()
    host.listen(3000)
    named = [record.refers_to for record in host.of(Kind.LOST)]
    assert named == damaged[:RESERVED], "more than that is not kept for it"
    host.ask(host.receipt(31), Done)
    host.listen(3000)
    assert [record.refers_to for record in host.of(Kind.LOST)] == damaged


def test_without_room_a_cancel_is_refused_and_can_be_repeated() -> None:
    device, host = nearly_full(1)
    host.ask(asking(), Done)
    other = bench_record_that_fills_it(device)
    assert other
    assert host.ask(Cancel(evaluation=EVALUATION, reason=CancelReason.BY_STAFF), Error).code is ErrorCode.JOURNAL_FULL
    assert host.status().evaluation == EVALUATION, "it is still open: what is not recorded has not happened"
    host.ask(host.receipt(host.next_seq), Done)
    host.ask(Cancel(evaluation=EVALUATION, reason=CancelReason.BY_STAFF), Done)
    assert meant(host)[-1].kind is Kind.CANCELLED


def bench_record_that_fills_it(device: BenchDevice) -> int:
    """Take the last slot, as another request's record would."""
    journal = device.device.journal
    return journal.append(wire.KIND_SIGN_OUT, device.device.clock)
