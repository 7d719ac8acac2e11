"""The demo's page in real Chromium: a person presses, rates, unplugs, and sees what arrives."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.demo_process import ROOT, demo_page

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

ARTIFACTS = ROOT / "tests" / "artifacts"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
LEVELS = ("非常满意", "满意", "基本满意", "不满意", "非常不满意")
ARRIVES_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test for any foreign request, script error or blocked content."""
    trouble: list[str] = []

    def look(request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", "localhost"):
            trouble.append(f"foreign request {request.url}")

    context = browser.new_context(viewport={"width": 1366, "height": 860})
    opened = context.new_page()
    opened.on("request", look)
    opened.on("pageerror", lambda error: trouble.append(f"script error {error}"))
    opened.on("console", lambda message: trouble.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert not trouble


def collected(page: Page, text: str) -> None:
    """Wait until the newest row of the collection shows `text`."""
    newest = page.frame_locator("#collector").locator("#rows > li").first
    expect(newest).to_contain_text(text, timeout=ARRIVES_MS)


def total(page: Page, count: int) -> None:
    """Wait until the collection counts so many ratings."""
    expect(page.frame_locator("#collector").locator("#total")).to_have_text(str(count), timeout=ARRIVES_MS)


def test_a_person_uses_the_demo(page: Page, tmp_path: Path) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    with demo_page(tmp_path / "demo") as url:
        page.goto(url)
        expect(page.locator("#agent-note")).to_contain_text("已连接", timeout=ARRIVES_MS)
        page.click("#sign-in")
        expect(page.locator("#staff-line")).to_contain_text("A07")

        # an evaluation for a case, rated with the fourth button
        page.locator(".cases button").first.click()
        expect(page.locator("#evaluation")).to_have_attribute("data-state", "opened")
        expect(page.locator(".rate").first).to_have_class(re.compile("lit"))
        page.locator(".rate").nth(3).click()
        expect(page.locator("#voice")).to_contain_text("谢谢")
        expect(page.locator("#evaluation")).to_have_attribute("data-state", "rated")
        collected(page, "不满意")
        collected(page, "社会保障卡申领")
        collected(page, "签名")
        total(page, 1)
        page.screenshot(path=ARTIFACTS / "demo-rated.png")

        # a change of mind within three seconds replaces it, and both stay to be seen
        page.locator(".cases button").nth(1).click()
        expect(page.locator("#evaluation")).to_have_attribute("data-state", "opened")
        page.locator(".rate").nth(4).click()
        page.locator(".rate").nth(0).click()
        collected(page, "非常满意")
        total(page, 2)
        expect(page.frame_locator("#collector").locator("#rows > li.replaced")).to_have_count(1)

        # unplugged, a press counts all the same and arrives when the cable is back; then without power in between
        page.locator(".cases button").nth(2).click()
        expect(page.locator("#evaluation")).to_have_attribute("data-state", "opened")
        page.click("#unplug")
        page.keyboard.press("2")
        expect(page.locator("#voice")).to_contain_text("谢谢")
        total(page, 2)
        page.click("#cut-power")
        expect(page.locator("#device")).to_have_attribute("data-power", "0")
        page.screenshot(path=ARTIFACTS / "demo-no-power.png")
        page.click("#plug-in")
        total(page, 3)
        collected(page, "个体工商户设立登记")
        expect(page.locator("#evaluation")).to_have_attribute("data-state", "rated")
        expect(page.locator("#in-device")).to_have_text("0", timeout=ARRIVES_MS)

        # what the window shows never holds a level
        window = page.locator("#window").inner_text()
        assert not [level for level in LEVELS if level in window]

    expect(page.locator("#cable-note")).to_contain_text("stopped")

    # started again, it goes on with its data
    with demo_page(tmp_path / "demo") as url:
        page.goto(url)
        total(page, 3)


def test_keyboard_and_screen_reader_can_rate(page: Page, tmp_path: Path) -> None:
    with demo_page(tmp_path / "demo") as url:
        page.goto(url)
        expect(page.locator("#agent-note")).to_contain_text("已连接", timeout=ARRIVES_MS)
        for name in LEVELS:
            expect(page.get_by_role("button", name=re.compile(f"^{name} "))).to_be_visible()
        page.get_by_role("button", name=re.compile("^基本满意")).focus()
        page.keyboard.press("Enter")
        collected(page, "基本满意")
        total(page, 1)

        page.set_viewport_size({"width": 390, "height": 844})
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow == 0
        page.locator("#collection").scroll_into_view_if_needed()
        page.screenshot(path=ARTIFACTS / "demo-narrow.png")


def test_no_other_page_can_press_a_button(page: Page, tmp_path: Path) -> None:
    with demo_page(tmp_path / "demo") as url:
        page.goto(url)
        answer = page.request.put(url + "device/keys", data={"mask": 1})
        assert answer.status == 403
        answer = page.request.get(url, headers={"Host": "evil.example"})
        assert answer.status == 421
