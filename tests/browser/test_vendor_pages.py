"""What a business-system vendor does: the page of the quick start, the example page, and what IT does so that the browser lets them.

Everything is real: Chromium, the page on an origin of its own, agent, broker, collector, the firmware behind a serial line.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import zxingcpp
from calmjs.parse import es5  # type: ignore[import-untyped]  # it has none
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from simulator.example.app import make_app
from tests.brokers import free_port, start_nats
from tests.browser.test_demo_page import ARRIVES_MS, ARTIFACTS, CHROMIUM, FLAGS, LEVELS
from tests.hall import ROOT, Hall, eventually

pytestmark = pytest.mark.browser

GUIDE = (ROOT / "docs" / "api" / "README.md").read_text(encoding="utf-8")
SDK = ROOT / "host_agent" / "api" / "static" / "sdk.js"
POLICY = ROOT / "docs" / "api" / "policy"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """What `python -m http.server` does."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page_port() -> int:
    return free_port()


@pytest.fixture
def hall(tmp_path: Path, page_port: int) -> Iterator[Hall]:
    """A hall whose agent lets a page on that port call, and has a follow-up page."""
    with Hall(tmp_path / "hall", start_nats(tmp_path / "broker")) as made:
        text = made.agent.config.read_text()
        text = text.replace('origins = ["http://hall.example"]', f'origins = ["http://127.0.0.1:{page_port}"]')
        made.agent.config.write_text(text + 'follow_up_url = "https://hall.example/f/{evaluation}"\n')
        made.start()
        yield made


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield chromium
    chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": 1180, "height": 760})
    opened = context.new_page()
    opened.on("pageerror", lambda error: trouble.append(f"script error {error}"))
    opened.on("console", lambda message: trouble.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert not trouble


def code(language: str) -> str:
    """Return the block of the guide in that language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(block)


def quick_start(hall: Hall, folder: Path, agent_url: str = "") -> Path:
    """Do what chapter 2 of the guide says, for this hall's ports."""
    folder.mkdir()
    shutil.copy(SDK, folder)
    token = (hall.data_dir / "api-token").read_text().strip()
    text = code("html")
    assert text.count("'TOKEN'") == 1
    where = f"'{token}', url: '{agent_url or hall.agent.url}'"
    (folder / "index.html").write_text(text.replace("'TOKEN'", where), encoding="utf-8")
    return folder


def test_a_page_made_from_the_guide_alone_is_told_that_the_citizen_has_rated(
    hall: Hall, page: Page, page_port: int, tmp_path: Path
) -> None:
    assert f'"http://127.0.0.1:{page_port}"' in code("toml").replace("8080", str(page_port))
    with served(quick_start(hall, tmp_path / "page"), page_port) as url:
        page.goto(url)
        page.click("#done")
        eventually("the device asks", lambda: hall.device_is_asking())
        hall.device.press(4)
        expect(page.locator("#result")).to_have_text("rated", timeout=ARRIVES_MS)
    (collected,) = hall.await_collected(1)
    assert collected["case"] == {"case_no": "A-1", "item_name": "社会保障卡申领"}
    assert (collected["level"], collected["staff"]) == ("very_dissatisfied", "017")


def test_a_page_that_may_not_call_is_told_what_to_do(hall: Hall, page: Page, tmp_path: Path) -> None:
    with served(quick_start(hall, tmp_path / "page"), free_port()) as url:  # not on the list
        page.goto(url)
        page.click("#done")
        expect(page.locator("#result")).to_contain_text("api.origins", timeout=ARRIVES_MS)
    assert hall.status()["link"] == "talking"


def test_the_sdk_is_one_file_of_es5_and_the_agent_serves_it(hall: Hall) -> None:
    text = SDK.read_text(encoding="utf-8")
    es5(text)
    answer = hall.ask("GET", "/v1/sdk.js")
    assert answer.text == text
    assert answer.headers["content-type"].startswith("text/javascript")


@pytest.fixture
def example(hall: Hall, page_port: int) -> Iterator[str]:
    token = (hall.data_dir / "api-token").read_text().strip()
    config = uvicorn.Config(
        make_app(hall.agent.url, token, page_port), port=page_port, log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually("the example page is served", lambda: server.started)
    yield f"http://127.0.0.1:{page_port}/"
    server.should_exit = True
    thread.join()


def test_a_clerk_uses_the_example_page(hall: Hall, page: Page, example: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    told = hall.told
    page.goto(example)
    expect(page.locator("#device")).to_contain_text("评价器 PJ-0001", timeout=ARRIVES_MS)
    page.get_by_role("button", name="签到").click()
    expect(page.locator("#device")).to_contain_text("工号 017")
    page.click("#pause")
    expect(page.locator("#device")).to_contain_text("暂停服务")
    page.click("#resume")
    expect(page.locator("#device")).not_to_contain_text("暂停服务")

    for button, sound in (("#welcome", 4), ("#call", 5), ("#text", 16)):
        page.click(button)
        eventually(f"the device says {sound}", lambda heard=sound: ("sound", heard) in told)  # type: ignore[misc]  # bound on purpose

    # withdrawn
    page.click("#evaluate")
    expect(page.locator("#result")).to_have_attribute("data-state", "opened", timeout=ARRIVES_MS)
    page.click("#cancel")
    expect(page.locator("#result")).to_have_attribute("data-state", "cancelled", timeout=ARRIVES_MS)

    # rated, with a code for the follow-up page
    page.click("#evaluate")
    expect(page.locator("#result")).to_have_attribute("data-state", "opened", timeout=ARRIVES_MS)
    evaluation = hall.device_is_asking()
    assert read_code(page, "#follow-up-code") == f"https://hall.example/f/{evaluation}"
    page.screenshot(path=ARTIFACTS / "example-opened.png")
    hall.device.press(4)
    expect(page.locator("#result")).to_have_attribute("data-state", "rated", timeout=ARRIVES_MS)
    page.screenshot(path=ARTIFACTS / "example-rated.png")

    # pressed without being asked
    hall.device.press(3)
    expect(page.locator("#log li").first).to_contain_text("free_rating", timeout=ARRIVES_MS)

    page.locator("#log button").first.click()
    expect(page.locator("#log button").first).to_contain_text("已补登", timeout=ARRIVES_MS)
    eventually("the case is collected", lambda: hall.ratings()[1]["case"] == {"case_no": "533103-2026-000123"})
    page.screenshot(path=ARTIFACTS / "example-named.png")

    # the agent is started anew: the page says so, and goes on by itself; what was asked before is not lost
    page.click("#evaluate")
    expect(page.locator("#result")).to_have_attribute("data-state", "opened", timeout=ARRIVES_MS)
    port = int(hall.agent.url.rpartition(":")[2])
    hall.agent.kill()
    expect(page.locator("#device")).to_contain_text("无法连接")
    hall.agent.config.write_text(hall.agent.config.read_text().replace("[api]\nport = 0", f"[api]\nport = {port}"))
    hall.agent.start()
    expect(page.locator("#device")).to_contain_text("评价器 PJ-0001", timeout=ARRIVES_MS)
    hall.device.press(0)
    expect(page.locator("#result")).to_have_attribute("data-state", "rated", timeout=ARRIVES_MS)

    levels = [level for level in LEVELS if level in page.locator("body").inner_text()]
    assert not levels
    hall.await_collected(3)


def read_code(page: Page, selector: str) -> str:
    """Read the QR code that a page shows, as a phone's camera would."""
    expect(page.locator(selector)).to_be_visible(timeout=ARRIVES_MS)
    pixels = page.evaluate(
        """async (selector) => {
            const image = document.querySelector(selector);
            await image.decode();
            const canvas = document.createElement('canvas');
            canvas.width = canvas.height = 328;
            const drawing = canvas.getContext('2d');
            drawing.drawImage(image, 0, 0, 328, 328);
            const data = drawing.getImageData(0, 0, 328, 328).data;
            let grey = '';
            for (let i = 0; i < data.length; i += 4) grey += String.fromCharCode(data[i]);
            return btoa(grey);
        }""",
        selector,
    )
    grey = memoryview(bytearray(base64.b64decode(pixels))).cast("B", (328, 328))
    (found,) = zxingcpp.read_barcodes(grey)
    return str(found.text)


# --- Chrome's Local Network Access ------------------------------------------------------------------------------------


@contextlib.contextmanager
def policy(origin: str) -> Iterator[None]:
    """The policy file of the guide where Chromium looks for it, for this origin."""
    folder = Path("/etc/chromium/policies/managed")
    file = folder / f"haochaping-test-{os.getpid()}.json"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text((POLICY / "local-network-access.json").read_text().replace("https://yewu.hall.example", origin))
    try:
        yield
    finally:
        file.unlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can place a policy for Chromium")
@pytest.mark.parametrize("is_allowed", [False, True], ids=["without the policy", "with the policy"])
def test_a_page_from_the_network_reaches_this_pc_only_by_the_policy(
    hall: Hall, playwright: Playwright, page_port: int, tmp_path: Path, is_allowed: bool
) -> None:
    """The page's address is declared to be a public one: Chromium then holds it to its rules for pages from elsewhere."""
    flag = f"--ip-address-space-overrides=127.0.0.1:{page_port}=public"
    folder = quick_start(hall, tmp_path / "page")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(served(folder, page_port))
        if is_allowed:
            stack.enter_context(policy(url.rstrip("/")))
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, flag])
        stack.callback(chromium.close)
        page = chromium.new_page()
        page.goto(url)
        page.click("#done")
        if is_allowed:
            eventually("the device asks", lambda: hall.device_is_asking())
            hall.device.press(0)
            expect(page.locator("#result")).to_have_text("rated", timeout=ARRIVES_MS)
        else:
            expect(page.locator("#result")).to_contain_text("浏览器是否允许访问本机", timeout=ARRIVES_MS)


def test_the_policy_is_the_same_for_windows() -> None:
    names = json.loads((POLICY / "local-network-access.json").read_text())
    text = (POLICY / "local-network-access.reg").read_text(encoding="utf-8")
    for browser in (r"Google\Chrome", r"Microsoft\Edge"):
        for name, (origin,) in names.items():
            assert f'[HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\{browser}\\{name}]\n"1"="{origin}"\n' in text
