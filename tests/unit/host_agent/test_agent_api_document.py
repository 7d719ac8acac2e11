"""The API is what docs/api/openapi.json says: schemathesis makes requests from it and holds the answers of a real server against it.

Right and wrong ones, for every path but the endless event streams, which have tests of their own. Desk and store are real; the
device is paper and carries everything out.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from host_agent.api.server import ApiServer, Served
from host_agent.config import ApiConfig
from protocol.record import Kind
from tests.paper_agent import ThreadedAgent
from tools.api_document import FILE

DOCUMENT = json.loads(FILE.read_text(encoding="utf-8"))
TOKEN = "t" * 32
SEEN: defaultdict[str, set[int]] = defaultdict(set)
schema = schemathesis.openapi.from_dict(DOCUMENT)


@schema.auth()
class Token:
    """The token, brought in a way that lets the check try without it."""

    def get(self, _case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return TOKEN

    def set(self, case: schemathesis.Case[Any], data: str, _context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@dataclass
class Place:
    """A server, and an evaluation there that was rated."""

    url: str
    rated: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("api")
    (folder / "api-token").write_text(TOKEN)
    (folder / "api-token").chmod(0o600)
    agent = ThreadedAgent(folder)
    config = ApiConfig(port=0, follow_up_url="https://hall.example/f/{evaluation}")
    server = ApiServer([Served(agent, folder, config)])  # type: ignore[arg-type]  # a paper one
    server.start()
    answer = httpx.post(f"{server.url}/v1/evaluations", json={}, headers={"authorization": f"Bearer {TOKEN}"})
    agent.record(Kind.RATING, answer.json()["id"])
    yield Place(server.url, answer.json()["id"])
    server.stop()
    agent.close()


def test_it_is_a_document_of_openapi_3_1_and_every_path_has_a_version() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert all(path.startswith("/v1/") for path in DOCUMENT["paths"])


OPERATIONS = {
    operation.label: operation
    for result in schema.exclude(path_regex="(events|trace)$").get_all_operations()
    if isinstance(result, Ok) and (operation := result.ok())
}


def right_and_wrong(operation: Any) -> st.SearchStrategy[schemathesis.Case[Any]]:
    """Requests as the document wants them, and where one can be wrong, wrong ones."""
    right: st.SearchStrategy[Any] = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    if operation.body or operation.path_parameters or operation.query:
        wrong: st.SearchStrategy[Any] = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        return right | wrong
    return right


# not schemathesis' own parametrize: its tests have one name for all operations, and run side by side only the first would be run
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_documented(label: str, place: Place) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=right_and_wrong(OPERATIONS[label]))
    def check(case: schemathesis.Case[Any]) -> None:
        wanted = str(case.path_parameters.get("evaluation_id", ""))
        if re.fullmatch("[0-9a-f]{32}", wanted) and int(wanted, 16) % 2:  # the document cannot say which ones there are
            case.path_parameters["evaluation_id"] = place.rated
        answer = case.call_and_validate(base_url=place.url)
        SEEN[label].add(answer.status_code)

    check()


def test_what_was_tried_was_also_answered() -> None:
    """Runs last in this file: a search in which nothing was ever right or wrong would have proved nothing."""
    assert SEEN["POST /v1/evaluations"] >= {201, 422}
    for label in OPERATIONS:
        if "{evaluation_id}" in label:
            assert SEEN[label] >= {200, 404}, label
        elif label.split()[0] in ("PUT", "DELETE", "POST") and "{" not in label and label != "POST /v1/evaluations":
            assert 204 in SEEN[label], label
