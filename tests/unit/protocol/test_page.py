"""The protocol page: every place filled, every link leads somewhere, every example is valid."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from construct import Float32l, Int16ub, Struct  # type: ignore[import-untyped]  # construct ships no type information

from protocol.fields import Layout
from protocol.generate import page, schema
from protocol.messages import BY_CODE
from protocol.payloads import (
    Absence,
    AbsenceKept,
    Health,
    LateCase,
    LateCaseKept,
    ReceiptPayload,
    RecordEvent,
    RemoteAnswer,
    RemoteRequest,
    State,
)

TEXT = (Path(__file__).resolve().parents[3] / page.PATH).read_text(encoding="utf-8")
TEMPLATE = Path(page.__file__).with_name("page_text.md").read_text(encoding="utf-8")


def anchors() -> list[str]:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_every_place_is_filled() -> None:
    assert "{{" not in TEXT
    assert set(re.findall(r"\{\{(\w+)\}\}", TEMPLATE)) <= set(page._PLACES)


def test_every_place_is_used() -> None:
    assert set(page._PLACES) == set(re.findall(r"\{\{(\w+)\}\}", TEMPLATE))


def test_every_link_leads_to_one_heading() -> None:
    found = anchors()
    for link in re.findall(r"\]\(#([\w-]+)\)", TEXT):
        assert found.count(link) == 1, link


def test_every_message_field_and_member_is_on_the_page() -> None:
    for message in BY_CODE.values():
        assert f"\n### {message.__name__}\n" in TEXT
        for field in schema.fields_of(message):
            assert f"| `{field.name}` | {field.doc}" in TEXT
    for members in schema.ENUMS.values():
        for member in members:
            assert f"| {member.value} | `{member.name}` |" in TEXT


def test_every_json_example_is_a_valid_payload() -> None:
    examples = re.findall(r"### (\w+)\n(?:(?!###).)*?```json\n(.*?)```", TEXT, re.DOTALL)
    messages = (
        RecordEvent, LateCase, Absence, State, Health, ReceiptPayload, LateCaseKept, AbsenceKept, RemoteRequest, RemoteAnswer,
    )  # fmt: skip  # one line for each would be ten
    models = {model.__name__: model for model in messages}
    assert [name for name, _ in examples] == list(models)
    for name, example in examples:
        assert json.loads(models[name].from_json(example.encode()).to_json()) == json.loads(example)


@pytest.mark.parametrize("strange", [Float32l, Int16ub, Struct()], ids=["float", "big endian", "struct"])
def test_a_construct_that_the_generators_do_not_know_is_refused(strange: Any) -> None:
    class Strange(Layout):
        STRUCT = Struct("odd" / (strange * "a kind of field that no generator can write"))

    with pytest.raises(TypeError, match=r"Strange\.odd: the generators do not know"):
        schema.fields_of(Strange)
