"""`/docs` in a real browser: light and dark, wide and narrow, search, samples, links."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window


def opened(window: Window, path: str = "/docs") -> Page:
    window.page.goto(window.server.url + path, wait_until="load")
    return window.page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_is_readable(new_window: OpenWindow, width: int, scheme: str) -> None:
    window = new_window(width=width, scheme=scheme)
    page = opened(window, "/docs#ingestEvent")

    assert page.locator("#ingestEvent").get_attribute("open") is not None
    window.check_width()
    window.shoot(f"docs-{width}-{scheme}", full=False)
    # axe visits every node of a long page: once in each scheme and each width is enough.
    if (width, scheme) in ((390, "light"), (1440, "dark")):
        window.check_axe()


def test_the_scheme_is_chosen_and_kept(new_window: OpenWindow) -> None:
    page = opened(new_window(scheme="light"))
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)

    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(background)
    page.reload()

    assert page.evaluate(background) == dark != light
    assert page.get_by_role("button", name="Light").is_visible()


def test_a_search_finds_entries_with_every_word(new_window: OpenWindow) -> None:
    page = opened(new_window())

    page.keyboard.press("/")
    page.keyboard.type("erase contact")

    assert page.locator("#deleteContact").is_visible()
    assert not page.locator("#listWebhooks").is_visible()
    assert not page.get_by_role("heading", name="Webhooks").first.is_visible()
    assert page.get_by_role("status").inner_text().endswith("found")
    page.keyboard.press("Escape")
    assert page.locator("#listWebhooks").is_visible()


def test_one_language_is_chosen_for_all_samples(new_window: OpenWindow) -> None:
    window = new_window()
    page = opened(window, "/docs#ingestEvent")
    sample = page.locator("#ingestEvent .code[data-language=curl]")
    assert sample.is_visible()

    page.locator("#ingestEvent").get_by_role("button", name="TypeScript").click()
    page.locator("#createTopic summary").click()

    assert not sample.is_visible()
    assert page.locator("#createTopic .code[data-language=TypeScript]").is_visible()
    window.shoot("docs-sample", full=False)


def test_it_leads_to_types_and_to_the_backoffice(new_window: OpenWindow) -> None:
    page = opened(new_window(), "/docs#ingestEvent")

    page.locator("#ingestEvent").get_by_role("link", name="EventInput").first.click()
    assert page.locator("#type-EventInput").get_attribute("open") is not None

    page.get_by_role("link", name="Backoffice").click()
    page.wait_for_url("**/backoffice/**")
