"""Whatever comes over the line: nothing raises, nothing becomes a record that is none, and records arrive in order, once."""

from __future__ import annotations

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from host_agent.instant import Instant
from host_agent.link.conversation import Conversation, LinkState
from host_agent.link.events import Identified, Received, Skipped
from protocol.framing import Frame, encode_frame
from protocol.messages import BY_CODE, Hello
from protocol.record import Kind
from tests.agent_bench import SESSION, at, hello_answer, paper_line
from tests.device_bench import bench

NOISE = st.binary(max_size=400)
FRAMES = st.builds(
    lambda kind, correlation, payload: encode_frame(Frame(kind, correlation, payload)),
    st.sampled_from([*BY_CODE, 0x00, 0x7F, 0xFF]) | st.integers(0, 255),
    st.integers(0, 5) | st.integers(0, 0xFFFF),
    st.binary(max_size=236),
)


@given(pieces=st.lists(NOISE | FRAMES | st.integers(0, 90), max_size=20), joined=st.booleans())
@example(pieces=[], joined=True)
def test_no_bytes_raise_and_none_of_them_become_a_record(pieces: list[bytes | int], *, joined: bool) -> None:
    line = paper_line()
    if joined:
        line.join()
    now_s = 0.0
    for piece in pieces:
        if isinstance(piece, int):
            now_s += piece / 10
            line.conversation.tick(at(now_s))
        else:
            for event in line.say_bytes(piece, at(now_s)):
                assert not isinstance(event, Received)
                if isinstance(event, Identified):
                    line.conversation.start(0, at(now_s))
        assert line.conversation.deadline_s() > now_s - 10
        line.conversation.take_output()


@given(
    st.fixed_dictionaries(
        {
            "version": st.integers(0, 255),
            "oldest_seq": st.integers(0, 0xFFFFFFFF),
            "next_seq": st.integers(0, 0xFFFFFFFF),
            "device": st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=4),
        }
    ),
    st.integers(0, 0xFFFFFFFF),
)
def test_no_answer_to_hello_raises(fields: dict[str, object], next_seq: int) -> None:
    line = paper_line()
    for event in line.say(hello_answer(**fields), line.last(Hello)):
        if isinstance(event, Identified):
            line.conversation.start(next_seq, at(0))
            line.conversation.acknowledge(line.conversation.start(next_seq, at(1)))
    line.conversation.take_output()


def damaged(data: bytes, chance: random.Random, rate: float) -> bytes:
    """A line that flips, drops and doubles bytes."""
    out = bytearray()
    for byte in data:
        fate = chance.random()
        if fate < rate:
            continue
        out.append(byte ^ 1 << chance.randrange(8) if fate < 2 * rate else byte)
        if fate > 1 - rate:
            out.append(byte)
    return bytes(out)


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.001, 0.004]), st.integers(8, 400))
def test_over_a_bad_line_a_whole_chain_arrives_in_order_and_once(seed: int, rate: float, chunk: int) -> None:
    # 25 chunks a second: with less than 8 bytes each, the heartbeat alone fills the line
    chance = random.Random(seed)
    device = bench(change_ms=1, rest_ms=1)
    for _ in range(12):
        device.press(chance.randrange(5))
        device.run(40)
    written = device.device.journal.next_seq - 1
    conversation = Conversation(SESSION, at(0))
    next_seq, got = 0, []
    to_device = b""
    for step in range(60 * 25):
        now = Instant(step / 25, at(step / 25).utc_ms)
        # the last seconds are good ones: trouble ends
        bad = rate if step < 40 * 25 else 0.0
        to_device += damaged(conversation.take_output(), chance, bad)
        device.board.to_device += to_device[:chunk]
        to_device = to_device[chunk:]
        device.run(40)
        line = damaged(bytes(device.board.from_device), chance, bad)
        device.board.from_device.clear()
        events = [
            event
            for at_byte in range(0, len(line), chunk)
            for event in conversation.receive(line[at_byte : at_byte + chunk], now)
        ]
        for event in events + conversation.tick(now):
            assert not isinstance(event, Skipped)
            if isinstance(event, Identified):
                conversation.start(next_seq, now)
            elif isinstance(event, Received):
                got.append(event.record)
                next_seq = event.record.seq + 1
                conversation.acknowledge(next_seq)
        is_over = next_seq > written and device.device.link.ack_seq > written
        if is_over and not bad and conversation.state is LinkState.TALKING:
            break
    assert [record.seq for record in got] == list(range(1, written + 1))
    assert [record.kind for record in got] == [Kind.BOOT] + [Kind.RATING] * 12
    assert conversation.state is LinkState.TALKING
