"""The live page and its API: answers, guards, and a stream that resumes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from collector.config import HttpConfig
from collector.ingest.core import Ingest, Message
from collector.ingest.counters import Counters
from collector.pages import events
from collector.pages import live as live_module
from collector.pages.app import make_app
from collector.pages.live import Cursor, Live
from protocol.payloads import Health, State
from protocol.record import Kind, Record, RecordFlag
from protocol.topics import Up
from tests.chains import CASE, EPOCH_MS, EVALUATION, HALL_KEY, OTHER_KEY, WINDOW, PaperDevice
from tests.databases import Opened


class Site:
    """The pages over an empty store."""

    def __init__(self, store: Opened, http: HttpConfig | None = None) -> None:
        self.ingest = Ingest(store.writer, {"533103/dating": HALL_KEY})
        self.live = Live(store.reader, Counters(), lambda: True)
        self.app = make_app(self.live, http or HttpConfig())

    def take(self, device: PaperDevice, *written: Record, **more: Any) -> None:
        self.ingest.take([Message(*device.message(record, **more)) for record in written], EPOCH_MS + 1_000_000)
        self.live.changed()

    def get(self, path: str, **headers: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def site(store: Opened) -> Site:
    return Site(store)


def test_the_summary_counts_levels_and_what_waits(site: Site) -> None:
    device = PaperDevice()
    site.take(device, *device.write_many(6), device.write(Kind.EXTRA, level=1, refers_to=6))
    session = "0" * 32
    state = State(session=session, online=True, since_ms=5, agent="1.0")
    health = Health(session=session, at_ms=6, journal_waiting=2, outbox_to_send=3, outbox_sent=4)
    site.ingest.take([Message(WINDOW.up(Up.STATE), state.to_json()), Message(WINDOW.up(Up.HEALTH), health.to_json())], EPOCH_MS)
    summary = site.get("/api/v1/summary").json()
    assert (summary["ratings"], sum(summary["levels"].values())) == (5, 5)
    assert summary["waiting"] == {"device": 2, "agent": 7}
    assert summary["windows"][0]["online"] is True
    assert summary["devices"][0]["next_seq"] == 8


def test_ratings_are_paged_by_arrival_and_tell_which_count(site: Site) -> None:
    device = PaperDevice()
    device.write(Kind.BOOT)
    device.write(level=1, evaluation=EVALUATION, case=CASE)
    device.write(level=5, flags=RecordFlag.REVISION, refers_to=2, evaluation=EVALUATION, case=CASE)
    site.take(device, *device.written[:1])
    site.take(device, *device.written[1:], case=CASE)
    page = site.get("/api/v1/ratings?limit=1").json()
    assert [(item["seq"], item["counts"], item["level_chinese"]) for item in page["items"]] == [(2, False, "非常不满意")]
    page = site.get(f"/api/v1/ratings?after={page['next']}").json()
    (item,) = page["items"]
    assert (item["seq"], item["counts"], item["revises"], item["chained"]) == (3, True, 2, True)
    assert item["case"] == {"case_no": CASE.case_no, "item_name": CASE.item_name}
    assert item["latency_ms"] == 1_000_000 - 3000
    assert site.get(f"/api/v1/ratings?after={page['next']}").json() == {"items": [], "next": page["next"]}


def test_gaps_and_evidence_are_listed(site: Site) -> None:
    device, forger = PaperDevice(), PaperDevice(device="PJ-0009", hall_key=OTHER_KEY)
    device.write_many(5)
    site.take(device, *device.written[:2], device.written[4])
    site.take(forger, forger.write())
    (gap,) = site.get("/api/v1/gaps").json()["items"]
    assert (gap["kind"], gap["first_seq"], gap["last_seq"], gap["place"]) == ("missing", 3, 4, WINDOW.path)
    (item,) = site.get("/api/v1/evidence").json()["items"]
    assert (item["kind"], item["chinese"], item["device"]) == ("wrong_key", "签名不符", "PJ-0009")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=-1", "after=x", f"after={1 << 63}"])
def test_nonsense_in_a_query_is_refused(site: Site, query: str) -> None:
    assert site.get(f"/api/v1/ratings?{query}").status_code == 422


@pytest.mark.parametrize("path", ["/", "/?embed=1", "/static/live.js", "/api/v1/summary", "/nowhere"])
def test_every_answer_forbids_foreign_content_and_frames(site: Site, path: str) -> None:
    answer = site.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_configured_origins_may_embed_the_page(store: Opened) -> None:
    site = Site(store, HttpConfig(embed_origins=["http://127.0.0.1:*", "https://hall.example"]))
    policy = site.get("/?embed=1").headers["content-security-policy"]
    assert policy.endswith("frame-ancestors http://127.0.0.1:* https://hall.example")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "", "[::2]:80", "localhost:x"])
def test_a_foreign_host_name_is_refused(site: Site, host: str) -> None:
    assert site.get("/api/v1/summary", host=host).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8700", "127.0.0.1:8700", "[::1]:8700"])
def test_our_own_names_are_accepted(site: Site, host: str) -> None:
    assert site.get("/api/v1/summary", host=host).status_code == 200


def test_the_page_names_all_levels_and_loads_nothing_from_elsewhere(site: Site) -> None:
    page = site.get("/").text
    for word in ("非常满意", "基本满意", "非常不满意", "等待中", 'aria-live="polite"'):
        assert word in page
    assert "<header>" in page
    assert "<header>" not in site.get("/?embed=1").text
    static = Path(live_module.__file__).parent / "static"
    texts = [page, *[file.read_text("utf-8") for file in static.iterdir()]]
    foreign = [link for text in texts for link in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text)]
    assert [link for link in foreign if "www.w3.org" not in link] == []
    for name in re.findall(r"/static/([\w.]+)", page):
        assert site.get(f"/static/{name}").status_code == 200


def test_files_beside_ours_are_not_served(site: Site) -> None:
    assert site.get("/static/..%2fapp.py").status_code == 404
    assert site.get("/docs").status_code == 404


async def told(stream: AsyncIterator[str], until: str) -> list[tuple[str, str, Any]]:
    """(name, id, data) of the events up to the first one named `until`."""
    found = []
    async for text in stream:
        if not text.startswith("id:"):
            continue
        lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
        found.append((lines["event"], lines["id"], json.loads(lines["data"])))
        if lines["event"] == until:
            return found
    return found


def test_a_stream_resumes_where_the_browser_left_off(site: Site) -> None:
    async def follow() -> None:
        device, forger = PaperDevice(), PaperDevice(device="PJ-0009", hall_key=OTHER_KEY)
        device.write_many(5)
        site.take(device, *device.written[:3])
        first = events.stream(site.live, None)
        seen = await told(first, "summary")
        assert [(name, data.get("seq")) for name, _, data in seen[:-1]] == [("rating", 2), ("rating", 3)]
        last_id = seen[-2][1]
        await first.aclose()  # type: ignore[attr-defined]  # it is a generator

        site.take(device, device.written[4], device.write(Kind.EXPIRED), device.write(Kind.EXTRA, level=2))
        site.take(forger, forger.write())
        again = events.stream(site.live, Cursor.parse(last_id))
        seen = await told(again, "summary")
        assert [name for name, _, _ in seen] == ["gap", "rating", "expired", "extra", "evidence", "summary"]
        await again.aclose()  # type: ignore[attr-defined]  # it is a generator

        # cut off anywhere, nothing is missed and nothing comes twice
        cut = events.stream(site.live, Cursor.parse(seen[2][1]))
        assert [name for name, _, _ in await told(cut, "summary")] == ["extra", "evidence", "summary"]
        await cut.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert site.live.readers == 0

    asyncio.run(follow())


def test_a_stream_tells_a_new_rating_at_once_and_ends_with_the_collector(site: Site) -> None:
    async def follow() -> None:
        device = PaperDevice()
        stream = events.stream(site.live, None)
        await told(stream, "summary")
        site.take(device, *device.write_many(2))
        (name, _, data), *_ = await told(stream, "rating")
        assert (name, data["seq"], data["signature"]) == ("rating", 2, "verified")
        site.live.close()
        assert all(name != "rating" for name, _, _ in await told(stream, "never"))

    asyncio.run(asyncio.wait_for(follow(), 10))


def test_a_reader_far_behind_is_told_how_much_it_skips(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "MOST_BEHIND", 50)
    monkeypatch.setattr(live_module, "SHOWN_AT_FIRST", 10)
    device = PaperDevice()
    site.take(device, *device.write_many(100))
    news, cursor = site.live.news(Cursor(0, 0))
    assert (news[0].name, news[0].data) == ("skipped", {"count": 90, "after": 0})
    assert (len(news), cursor) == (11, Cursor(100, 0))


@pytest.mark.parametrize("text", ["", "x", "1", "1.", ".1", "1.x", "-1.2", "1" * 50 + ".1", "²." + "1"])
def test_a_foreign_event_id_is_no_cursor(text: str) -> None:
    assert Cursor.parse(text) is None


def test_too_many_streams_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_READERS", 0)
    assert site.get("/events").status_code == 503


def test_a_store_in_use_is_only_read(tmp_path: Path) -> None:
    from collector.store.database import Database

    database = Database(tmp_path)
    with database.reader.connect() as connection, pytest.raises(sa.exc.OperationalError, match="readonly"):
        connection.execute(sa.text("DELETE FROM records"))
    database.close()
