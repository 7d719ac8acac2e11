"""`/metrics`: read by Prometheus' own parser, true, guarded by a token that opens nothing else, and silent about people."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from host_agent.agent import Agent
from host_agent.api.app import make_app
from host_agent.api.metrics import LINK_STATES, TOKEN_FILE, Metric, Metrics, exposition, of_windows
from host_agent.api.server import ApiServer, Served
from host_agent.config import ApiConfig, load
from host_agent.errors import RequestError
from host_agent.report import StatusReport
from protocol.messages import Condition
from tests.paper_agent import REPORT, PaperAgent
from tests.unit.host_agent.test_agent import CONFIG
from tests.unit.host_agent.test_agent_api import SETTINGS, TOKEN

SCRAPER = "s" * 32


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[PaperAgent]:
    made = PaperAgent(tmp_path)
    yield made
    made.writer.close()


def asked(agent: PaperAgent, path: str, token: str = SCRAPER, method: str = "GET", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        app = Metrics(make_app(agent, TOKEN, SETTINGS), [agent], SCRAPER)  # type: ignore[arg-type,list-item]  # a paper one
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:17610") as client:
            return await client.request(method, path, headers={"authorization": f"Bearer {token}"} | headers)

    return anyio.run(ask)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus' own parser finds."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_back_what_the_agent_reports(agent: PaperAgent) -> None:
    answer = asked(agent, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.text)
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("info", (("version", "0.1.0"),)): 1,
        ("link_state", (("state", "talking"),)): 1,
        ("link_state", (("state", "searching"),)): 0,
        ("device_info", (("device", "PJ-0001"), ("firmware", "1.0"))): 1,
        ("device_condition", (("condition", "journal_full"),)): 0,
        ("device_heard_seconds", ()): 0.4,
        ("device_uptime_seconds", ()): 60,
        ("device_clock_ahead_seconds", ()): -0.003,
        ("device_clock_drift_ppm", ()): 12,
        ("broker_connected", ()): 1,
        ("database_writable", ()): 1,
        ("database_used_bytes", ()): 49152,
        ("database_limit_bytes", ()): 256_000_000,
        ("journal_free_records", ()): 9,
        ("outbox_records", (("state", "to_send"),)): 0,
        ("oldest_waiting_seconds", ()): 0,
        ("events_total", (("event", "records"),)): 3,
    }
    found_there = {(name.removeprefix("haochaping_agent_"), labels): value for (name, labels), value in found.items()}
    window = ("window", "533103/dating/07")
    for (name, labels), value in expected.items():
        assert found_there[name, tuple(sorted((*labels, window)))] == value, name
    assert found["process_resident_memory_bytes", ()] > 10_000_000
    assert found["process_cpu_seconds_total", ()] > 0


def test_each_name_has_help_and_type_and_the_usual_form(agent: PaperAgent) -> None:
    text = asked(agent, "/metrics").text
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert re.fullmatch(r"(haochaping_agent|process)_[a-z_]+", sample.name)
    assert text.endswith("\n")


def test_what_is_not_known_has_no_sample_and_trouble_is_a_number() -> None:
    report = replace(
        REPORT, device=None, device_heard_ms=None, clock_ahead_ms=None, clock_ppm=None,
        firmware=None, journal_waiting=None, journal_free=None, link="searching", broker_connected=False,
        store_trouble="disk full", conditions=["key_stuck"], oldest_waiting_ms=90_500,
    )  # fmt: skip
    found = {
        name.removeprefix("haochaping_agent_"): value
        for (name, _), value in samples(exposition([*of_windows([report])])).items()
    }
    assert (
        not {
            "device_info",
            "device_heard_seconds",
            "device_clock_ahead_seconds",
            "device_clock_drift_ppm",
            "journal_waiting_records",
            "journal_free_records",
        }
        & found.keys()
    )
    assert (found["broker_connected"], found["database_writable"], found["oldest_waiting_seconds"]) == (0, 0, 90.5)
    conditions = {
        dict(labels).get("condition"): value
        for (name, labels), value in samples(exposition([*of_windows([report])])).items()
        if "condition" in name
    }
    assert conditions == {condition.name.lower(): condition is Condition.KEY_STUCK for condition in Condition if condition.name}


def test_the_link_is_in_one_state() -> None:
    for state in LINK_STATES:
        found = samples(exposition([*of_windows([replace(REPORT, link=state)])]))
        assert [labels[0][1] for (name, labels), value in found.items() if name.endswith("link_state") and value] == [state]


def test_nothing_says_who_serves_or_how_anybody_rated() -> None:
    """Every text that the report may hold is planted; only version, window, device and firmware come out."""
    texts: dict[str, Any] = {}
    for one in fields(StatusReport):
        value = getattr(REPORT, one.name)
        if isinstance(value, str) or (value is None and one.type == "str | None"):
            texts[one.name] = f"PLANTED-{one.name}"
    report = replace(REPORT, **texts, databases_set_aside=["PLANTED-aside"])
    assert set(re.findall(r"PLANTED-\w+", exposition([*of_windows([report])]))) == {
        "PLANTED-agent", "PLANTED-window", "PLANTED-device", "PLANTED-firmware",
    }  # fmt: skip


@given(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from('\\"\n')))
def test_any_text_in_a_label_is_read_back(text: str) -> None:
    metric = Metric("a_name", "gauge", text, (({"label": text}, 1.5),))
    assert samples(exposition([metric])) == {("a_name", (("label", text),)): 1.5}


def test_its_token_is_for_it_alone_and_no_other_is_for_it(agent: PaperAgent) -> None:
    assert asked(agent, "/metrics", TOKEN).status_code == 401
    assert asked(agent, "/metrics", "").status_code == 401
    assert asked(agent, "/v1/status", SCRAPER).status_code == 401
    assert asked(agent, "/v1/status", TOKEN).status_code == 200
    assert asked(agent, "/metrics", host="evil.example").status_code == 421
    assert asked(agent, "/metrics", origin="http://hall.example").status_code == 403, "no page has business here"
    assert asked(agent, "/metrics", method="POST").status_code == 405
    assert agent.calls == 1


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("disk full"), RequestError(503, "stopping", "it stops"), TimeoutError()]
)
def test_an_agent_that_cannot_answer_fails_the_scrape(agent: PaperAgent, error: Exception) -> None:
    agent.raises = error
    answer = asked(agent, "/metrics")
    assert (answer.status_code, answer.text) == (503, "no answer from the agent\n")


def test_it_is_off_unless_it_is_wanted(tmp_path: Path) -> None:
    """On the real server; the agent's loop does not run, so that what is on answers that it has no answer."""
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG, encoding="utf-8")
    config = load(file)
    for wanted in (False, True):
        agent = Agent(config)
        server = ApiServer([Served(agent, config.data_dir, ApiConfig(port=0, metrics=wanted))])
        server.start()
        agent.end()
        token = config.data_dir / TOKEN_FILE
        assert token.exists() == wanted
        bearer = token.read_text().strip() if wanted else (config.data_dir / "api-token").read_text().strip()
        answer = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {bearer}"}, trust_env=False)
        assert answer.status_code == (503 if wanted else 404)
        assert not wanted or token.stat().st_mode & 0o077 == 0
        server.stop()
