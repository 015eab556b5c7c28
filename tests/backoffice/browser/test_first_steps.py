"""From the link printed by the first start to a revoked key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import ACTION_SECONDS_MAX, Window, open_window
from tests.backoffice.cast import Person, make_project, project_path, stranger
from tests.support.server import RunningServer, running_server
from tests.support.waiting import wait_until

EMAIL, PASSWORD = "first@example.org", "correct horse battery"
KEY = re.compile(r"hr_[0-9a-f]{16}_[0-9a-f]{64}")

expect.set_options(timeout=ACTION_SECONDS_MAX * 1000)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that has just started for the first time."""
    with running_server(tmp_path_factory.mktemp("fresh")) as running:
        yield running


def open_alone(browser: Browser, server: RunningServer) -> Window:
    return open_window(browser, server, "", width=1280, height=800, scheme="light")


def test_the_first_operator_can_sign_in(browser: Browser, fresh: RunningServer) -> None:
    window = open_alone(browser, fresh)
    window.expected = {422}
    page = window.page
    page.goto(fresh.announced["sign_in"])
    window.shoot("welcome")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Confirm password").fill(PASSWORD)
    page.get_by_role("button", name="Set password and sign in").click()
    expect(page.get_by_role("status")).to_contain_text("Welcome")

    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Name").fill("checkout")
    page.get_by_label("ingest").check()
    page.get_by_role("button", name="Create key").click()
    key = page.locator("#new-key").inner_text()
    assert KEY.fullmatch(key)
    headers = {"authorization": f"Bearer {key}"}
    with stranger(fresh) as somebody:

        def status() -> int:
            event = {"event": "order.completed", "external_id": "user_1"}
            return somebody.client.post("/events", json=event, headers=headers).status_code

        wait_until(lambda: status() == 202, "the key works")
        row = page.get_by_role("row", name="checkout")
        row.get_by_role("button", name="Revoke").click()
        dialog = page.get_by_role("dialog", name="Revoke")
        expect(dialog).to_contain_text("Revoke checkout?")
        window.shoot("confirm", full=False)
        dialog.get_by_role("button", name="Revoke this key").click()
        expect(page.get_by_role("row", name="checkout")).to_contain_text("revoked")
        wait_until(lambda: status() == 401, "the key is refused")

    page.get_by_role("link", name="Policies").click()
    page.get_by_label("event retention days").fill("30")
    page.get_by_role("listitem").filter(has_text="Event retention").get_by_text("Save").click()
    expect(page.get_by_role("complementary")).to_contain_text("90 → 30")

    page.get_by_label("Account and appearance").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("signed out")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill("wrong password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not match")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Account and appearance")).to_contain_text(EMAIL)
    window.close()


def test_it_works_without_scripts(browser: Browser, server: RunningServer, owner: Person) -> None:
    project = make_project(server, "without scripts")
    context = browser.new_context(java_script_enabled=False)
    cookie = {"name": "headrace_session", "value": owner.token, "url": server.url}
    context.add_cookies([cookie])  # type: ignore[list-item]
    page = context.new_page()
    page.goto(f"{server.url}/backoffice{project_path(project)}/keys")
    page.get_by_role("button", name="Create key").click()
    assert KEY.fullmatch(page.locator("#new-key").inner_text())
    assert page.get_by_role("button", name="Copy").count() == 0
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke this key").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked")
    page.get_by_label("Project:").click()
    page.get_by_role("link", name="All projects").click()
    expect(page.get_by_role("heading", name="Projects", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Projects")).to_contain_text("UTC")
    context.close()


def test_times_are_those_of_the_viewer(window: Window) -> None:
    page = window.go("/projects")
    time = page.locator("td time").first
    expect(time).to_have_text(re.compile(r"CES?T$"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d .* UTC", time.get_attribute("title") or "")


def test_the_theme_is_chosen_and_kept(window: Window) -> None:
    page = window.go("/projects")
    page.get_by_label("Account and appearance").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == "rgb(15, 19, 22)"


def test_menus_close_and_the_keyboard_reaches_everything(window: Window) -> None:
    page = window.go("/projects")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    menu = page.locator("details.menu").first
    menu.locator("summary").click()
    expect(menu).to_have_attribute("open", "")
    page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    expect(menu.locator("summary")).to_be_focused()


def test_hostile_names_do_nothing(
    new_window: OpenWindow, server: RunningServer, owner: Person
) -> None:
    window = new_window(owner, width=360)
    for name in (
        "<img src=x onerror=alert(1)>",
        '"><script>alert(1)</script>{{7*7}}',
        "W" * 100,
        "مرحبا שלום 漢字 👩👧 ﷽﷽﷽﷽",
    ):
        page = window.go(f"{project_path(make_project(server, name))}/keys")
        expect(page.get_by_text(name).first).to_be_attached()
        window.check_width()
    for width in (360, 1280):
        window.page.set_viewport_size({"width": width, "height": 800})
        window.go("/projects")
        window.check_width()
