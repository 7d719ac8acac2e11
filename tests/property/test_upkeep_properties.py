"""Whatever the bounds, however much waits: nothing undelivered is deleted, and the bounds hold once enough has been delivered."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from host_agent.evaluations import Evaluation
from host_agent.store.database import Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.outbox import Outbox
from host_agent.store.schema import RECEIPTED
from host_agent.store.upkeep import Upkeep
from protocol.record import Kind
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, delete_delivered, hello_answer
from tests.chains import CASE, EPOCH_MS, PaperDevice

PAGE = 4096


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(1, 60),  # records that come
            st.integers(0, 100),  # of a hundred of all that is here, so many have a receipt
            st.integers(-30, 30),  # days by which the clock is somewhere else
            st.sampled_from([PAGE, 20 * PAGE, 30 * PAGE, 45 * PAGE, 1 << 40]),
            st.sampled_from([0, 1 << 40]),  # room on the disk
            st.sampled_from([0, 40]),  # days for which what is delivered is kept
        ),
        min_size=1,
        max_size=6,
    ),
    with_cases=st.booleans(),
)
def test_nothing_undelivered_is_deleted_and_the_bound_holds(
    steps: list[tuple[int, int, int, int, int, int]], *, with_cases: bool
) -> None:
    device = PaperDevice()
    undelivered: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder))
        outbox, store = Outbox(writer), EvaluationStore(writer)
        outbox.meet(hello_answer(), 1)
        for count, percent, days, most_bytes, free_bytes, keep_days in steps:
            now_ms = EPOCH_MS + days * 86_400_000
            written = []
            for _ in range(count):
                evaluation = device.next_seq.to_bytes(16, "big") if with_cases else bytes(16)
                written.append(device.write(evaluation=evaluation))
                if with_cases:
                    store.add(Evaluation(evaluation.hex(), CASE, 1, now_ms).after_record(Kind.RATING, now_ms))
            with writer.transaction() as connection:
                outbox.accept(connection, DEVICE, [(record, record.pack()) for record in written], now_ms)
            undelivered.update(record.seq for record in written)
            last = device.written[len(device.written) * percent // 100 - 1] if percent else None
            if last is not None and last.seq in undelivered:
                assert outbox.receipt(DEVICE, sign_receipt(device.key, DEVICE, last.seq + 1, last.mac, 1))
                undelivered = {seq for seq in undelivered if seq > last.seq}
            delete_delivered(writer, now_ms - keep_days * 86_400_000, most_bytes, free_bytes)
            rows = writer.connection.execute("SELECT seq, state, received_ms FROM records ORDER BY id").fetchall()
            assert {seq for seq, state, _ in rows if state < RECEIPTED} == undelivered
            delivered = [(seq, ms) for seq, state, ms in rows if state == RECEIPTED]
            assert not [seq for seq, ms in delivered if ms < now_ms - keep_days * 86_400_000]
            if delivered:
                assert free_bytes
                assert Upkeep(writer, 0, 0, lambda: 0).used_bytes() <= most_bytes
            if with_cases:
                known = {name for (name,) in writer.connection.execute("SELECT id FROM evaluations")}
                assert {seq.to_bytes(16, "big").hex() for seq in undelivered} <= known, "what waits keeps its case"
        writer.close()
