"""Topics: one place per window, and nothing that is not one is taken for one."""

import pytest

from protocol.errors import PayloadError
from protocol.topics import Down, Up, Window, all_up, parse_up

WINDOW = Window("533100", "zwdt", "07")


def test_a_topic_names_the_window_and_comes_back() -> None:
    for what in Up:
        topic = WINDOW.up(what)
        assert topic == f"hcp/v1/533100/zwdt/07/up/{what.value}"
        assert parse_up(topic) == (WINDOW, what)
    assert WINDOW.down(Down.RECEIPT) == "hcp/v1/533100/zwdt/07/down/receipt"


def test_a_subscription_has_the_depth_of_its_topics() -> None:
    assert all_up(Up.RECORD) == "hcp/v1/+/+/+/up/record"
    assert all_up(Up.RECORD).count("/") == WINDOW.up(Up.RECORD).count("/")


@pytest.mark.parametrize(
    ("area", "hall", "window"),
    [
        ("53310", "a", "1"),
        ("5331000", "a", "1"),
        ("53310x", "a", "1"),
        ("533100", "", "1"),
        ("533100", "a/b", "1"),
        ("533100", "a", "+"),
        ("533100", "a", "#"),
        ("533100", "大厅", "1"),
        ("533100", "a", "x" * 33),
        ("533100\n", "a", "1"),
    ],
)
def test_what_does_not_fit_a_topic_is_no_window(area: str, hall: str, window: str) -> None:
    with pytest.raises(PayloadError) as caught:
        Window(area, hall, window)
    assert caught.value.reason == "topic"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "hcp/v2/533100/zwdt/07/up/record",
        "hcp/v1/533100/zwdt/07/down/receipt",
        "hcp/v1/533100/zwdt/07/up/receipt",
        "hcp/v1/533100/zwdt/07/up",
        "hcp/v1/533100/zwdt/07/up/record/more",
        "hcp/v1/5331/zwdt/07/up/record",
    ],
)
def test_other_topics_are_not_ours(topic: str) -> None:
    with pytest.raises(PayloadError) as caught:
        parse_up(topic)
    assert caught.value.reason == "topic"
