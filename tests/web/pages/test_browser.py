"""The pages in a real browser: accessible, without a script, on a narrow screen, updating themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import service.web
from service.builds.commands import add_release
from service.settings import load_settings
from tests.web.live import LiveApp, serving
from tests.web.pages.accessibility import COLOURS, violations
from workers.context import load_catalog

PAGES = [
    "/", "/?behind=1", "/releases", "/releases/cri-o/1.34.2", "/releases/cri-o/1.29.4", "/builds",
    "/builds/22", "/branches/f44", "/branches/f42", "/packages/cri-o1.34", "/deliveries",
    "/deliveries/guid-v1.34.2", "/catalogue", "/audit", "/sign-in", "/rules", "/causes", "/health", "/glossary",
    "/api/v1/docs", "/nothing",
]  # fmt: skip
STYLE = Path(service.web.__file__).with_name("static") / "style.css"
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1360, "height": 900}


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_and_a_phone_does_not_scroll_sideways(
    chromium: Browser, scene: LiveApp, path: str
) -> None:
    context = chromium.new_context(color_scheme="light", viewport=DESK)  # type: ignore[arg-type]
    shown = context.new_page()
    complaints: list[str] = []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.goto(scene.url + path)
    assert violations(shown) == []
    # In the dark the page is the same but for its colours.
    shown.emulate_media(color_scheme="dark")
    assert violations(shown, *COLOURS) == []
    shown.set_viewport_size(PHONE)  # type: ignore[arg-type]
    width = shown.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert width <= PHONE["width"]
    assert [text for text in complaints if path != "/nothing"] == []


def test_the_dark_changes_colours_only() -> None:
    (rules,) = re.findall(r"@media \(prefers-color-scheme: dark\) \{(.*?)^\}", STYLE.read_text(), re.M | re.S)
    declared = re.findall(r"([\w-]+):", re.sub(r"[^{}]*\{", "", rules))
    assert declared and all(name.startswith("--") or "color" in name for name in declared), declared


def test_complete_without_a_script(chromium: Browser, scene: LiveApp) -> None:
    context = chromium.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(scene.url)
    expect(shown.locator("table.matrix tbody tr")).to_have_count(9)
    expect(shown.locator("#clock")).to_contain_text("As of")
    shown.select_option("select[name=state]", "failed")
    shown.click("text=Filter")
    expect(shown.locator("table.matrix tbody tr")).to_have_count(1)
    shown.click("table.matrix .cell.s-failed a.state")
    expect(shown.locator("h1")).to_contain_text("failed")
    context.close()


def test_the_keyboard_reaches_everything(page: Page, scene: LiveApp) -> None:
    page.goto(scene.url)
    page.keyboard.press("Tab")
    skip = page.locator("a.skip")
    expect(skip).to_be_focused()
    outline = skip.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**#content")


def test_the_page_follows_what_happens(chromium: Browser, sqlite_url: str) -> None:
    with serving(sqlite_url) as live:
        context = chromium.new_context()
        shown = context.new_page()
        shown.clock.install()
        shown.goto(live.url)
        expect(shown.locator("main")).to_contain_text("No release yet")
        expect(shown.locator("#clock")).to_contain_text("Live, updated")
        add_release(live.context.db, load_catalog(load_settings()), "cri-o", "v1.35.0", by="a maintainer")
        shown.evaluate("document.querySelector('select[name=stream]').focus()")
        shown.clock.run_for(11_000)
        expect(shown.locator("main")).to_contain_text("pending")
        expect(shown.locator("main")).not_to_contain_text("No release yet")
        expect(shown.locator("select[name=stream]")).to_be_focused()

        shown.click("#clock button")
        expect(shown.locator("#clock")).to_contain_text("Paused")
        add_release(live.context.db, load_catalog(load_settings()), "cri-o", "v1.35.1", by="a maintainer")
        shown.clock.run_for(30_000)
        expect(shown.locator("main")).not_to_contain_text("1.35.1")
        shown.click("#clock button")
        expect(shown.locator("main")).to_contain_text("1.35.1")
        page_url = shown.url
    # The service is gone: the page stays, and says that it is stale.
    shown.clock.run_for(61_000)
    expect(shown.locator("#clock")).to_contain_text("Stale")
    expect(shown.locator("main")).to_contain_text("1.35.1")
    assert shown.url == page_url
    context.close()
