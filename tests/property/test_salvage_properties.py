"""Whatever is flipped, overwritten or cut off in a database and its log: a repair comes through, and what it keeps is right.

Every record on a page that is as it was is kept; every record that is kept is one that a device signed, under its own device, once;
what had no receipt has none; the damaged files are there to the byte; and the store and its check are content.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from host_agent.doctor.finding import Grade
from host_agent.evaluations import Evaluation
from host_agent.store import pages, soundness
from host_agent.store.database import FILE_NAME, Writer
from host_agent.store.evaluations import EvaluationStore
from host_agent.store.outbox import Outbox
from host_agent.store.salvage import repair
from host_agent.store.schema import RECEIPTED
from protocol.record import Kind
from protocol.signing import sign_receipt
from tests.agent_bench import DEVICE, hello_answer
from tests.chains import CASE, EPOCH_MS, PaperDevice

OTHER = "PJ-0002"
LOG = f"{FILE_NAME}-wal"


@cache
def model() -> tuple[dict[str, bytes], dict[bytes, tuple[str, int]]]:
    """The files of a database in use, a part of it in its log, and its records by their bytes with device and state."""
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder))
        outbox, store = Outbox(writer), EvaluationStore(writer)
        for name in (DEVICE, OTHER):
            outbox.meet(hello_answer(device=name), EPOCH_MS)
            device = PaperDevice(name)
            for part in range(4):
                if part == 3 and name == OTHER:
                    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                written = []
                for _ in range(6):
                    evaluation = device.next_seq.to_bytes(8, "big") + name.encode().ljust(8)
                    ended = Evaluation(evaluation.hex(), CASE, 1, EPOCH_MS, key=evaluation.hex()).after_record(
                        Kind.RATING, EPOCH_MS
                    )
                    store.add(ended)
                    written.append(device.write(evaluation=evaluation, case=CASE, level=1 + device.next_seq % 5))
                with writer.transaction() as connection:
                    outbox.accept(connection, name, [(one, one.pack()) for one in written], EPOCH_MS)
                    outbox.advance(connection, name, device.next_seq)
            assert outbox.receipt(name, sign_receipt(device.key, name, 13, device.written[11].mac, 1))
        files = {name: (Path(folder) / name).read_bytes() for name in (FILE_NAME, LOG)}
        rows = writer.connection.execute("SELECT raw, device, state FROM records").fetchall()
        writer.close()
    assert len(files[LOG]) > 20 * 4096
    return files, {raw: (device, state) for raw, device, state in rows}


def raws(page: bytes) -> Iterator[bytes]:
    for _, values in pages.leaf_rows(page):
        if len(values) > 9 and isinstance(values[4], bytes):
            yield values[4]


def kept_pages(folder: Path) -> set[bytes]:
    return set(pages.pages(folder / FILE_NAME))


@cache
def model_pages() -> frozenset[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in model()[0].items():
            (Path(folder) / name).write_bytes(content)
        return frozenset(pages.pages(Path(folder) / FILE_NAME))


STROKES = st.tuples(
    st.sampled_from([FILE_NAME, FILE_NAME, LOG]),
    st.sampled_from(["flip", "flip", "zeros", "noise", "cut"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)


@settings(max_examples=30, deadline=None)
@given(strokes=st.lists(STROKES, min_size=1, max_size=8), loses_log=st.booleans())
@example(strokes=[(FILE_NAME, "noise", 0.0, 1)], loses_log=False)
@example(strokes=[(FILE_NAME, "cut", 0.0, 1)], loses_log=False)
def test_whatever_is_damaged_what_is_whole_is_kept_and_nothing_else(
    strokes: list[tuple[str, str, float, int]], *, loses_log: bool
) -> None:
    files, records = model()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        damaged = {name: bytearray(content) for name, content in files.items()}
        for name, how, where, much in strokes:
            content = damaged[name]
            at = int(where * len(content))
            page = at - at % pages.PAGE_BYTES
            if how == "flip" and content:
                content[at] ^= much
            elif how in ("zeros", "noise"):
                size = len(content[page : page + pages.PAGE_BYTES])
                content[page : page + size] = (
                    bytes(size) if how == "zeros" else bytes((much * one) & 255 for one in range(size))
                )
            elif how == "cut":
                del content[at:]
        if loses_log:
            del damaged[LOG]
        for name, content in damaged.items():
            (folder / name).write_bytes(content)
        whole = {raw for page in kept_pages(folder) & model_pages() for raw in raws(page)}

        done = repair(folder)

        writer = Writer(folder)
        assert writer.set_aside() == []
        rows = writer.connection.execute("SELECT device, raw, state FROM records").fetchall()
        writer.close()
        assert {raw for _, raw, _ in rows} >= whole
        assert len({raw for _, raw, _ in rows}) == len(rows)
        for device, raw, state in rows:
            assert records[raw][0] == device
            assert state != RECEIPTED or records[raw][1] == RECEIPTED
        assert not [one for one in soundness.check(folder / FILE_NAME, EPOCH_MS, is_running=False) if one.grade is Grade.FAIL]
        if done.kept_aside:
            (aside,) = done.kept_aside
            assert (folder / aside).read_bytes() == damaged[FILE_NAME]
            if LOG in damaged:
                assert (folder / f"{aside}-wal").read_bytes() == damaged[LOG]
        assert not repair(folder).has_work


def test_the_model_is_what_it_seems(tmp_path: Path) -> None:
    """All its records are found in its pages, so that `whole` above is not empty by mistake."""
    files, records = model()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert {raw for page in kept_pages(tmp_path) for raw in raws(page)} == set(records)
