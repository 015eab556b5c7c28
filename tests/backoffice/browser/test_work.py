"""An operator's daily work in a browser: see a problem, understand it, fix it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from headrace.domain.access.sign_in import Role
from headrace.pipeline.streams.streams import HOLDER_STREAMS_MAX
from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window
from tests.backoffice.cast import COOKIE, Person, person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop
from tests.support.raw_http import head_of
from tests.support.server import RunningServer
from tests.support.stream import Watcher

#: Hostile text: none of it may run, and none may break the layout.
HOSTILE = "<script>document.title='x'</script><img src=x onerror=alert(1)>\u202e" + "W" * 150
PAGES = ("events", "events/live", "rejections", "dead-letters", "contacts", "subscribers")


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int]) -> Iterator[Shop]:
    """A project of its own whose deliveries are attempted once."""
    with open_shop(server, f"work {next(numbers)}", delivery_max_attempts=1) as shop:
        yield shop


def test_an_event_arrives_live_and_is_found_by_its_key(window: Window, shop: Shop) -> None:
    shop.send("order.earlier", external_id="ann")
    page = window.go(f"{shop.path}/events/live")
    expect(page.locator("[data-live-state]")).to_contain_text("Connected")
    expect(page.locator("tbody tr", has_text="order.earlier")).to_have_count(1)
    event_id = shop.send("order.completed", external_id="ann", idempotency_key="order-A-1")
    row = page.locator("tbody tr", has_text="order.completed")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("processed")
    window.check_axe()
    window.shoot("events-live")
    page.get_by_role("button", name="Pause").click()
    shop.send("order.refunded", external_id="ann")
    expect(page.locator("[data-live-state]")).to_contain_text("1 waiting")
    expect(page.locator("tbody tr", has_text="order.refunded")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("tbody tr", has_text="order.refunded")).to_have_count(1)
    shop.wait_until_processed(event_id)
    page = window.go(f"{shop.path}/events")
    page.get_by_label("Event id or idempotency key").fill("order-A-1")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("h1")).to_have_text("order.completed")
    expect(page.locator(".timeline li").first).to_contain_text("Received via the API")
    window.check_axe()
    window.shoot("event")


def test_a_live_page_reports_that_the_session_ended(
    new_window: OpenWindow, server: RunningServer, shop: Shop
) -> None:
    roles = {shop.project.id: Role.VIEWER}
    with person(server, "leaves@example.org", is_owner=False, roles=roles) as somebody:
        page = new_window(somebody).go(f"{shop.path}/events/live")
        expect(page.locator("[data-live-state]")).to_contain_text("Connected")
        assert somebody.post("/sign-out").status_code == 303
        expect(page.locator("[data-live-state]")).to_contain_text("You are signed out")


def test_a_rejected_live_page_retries(
    new_window: OpenWindow, server: RunningServer, shop: Shop
) -> None:
    """Browsers do not retry by themselves: for them an error status is final."""
    target = f"/backoffice{shop.path}/events/live/stream"
    roles = {shop.project.id: Role.VIEWER}
    with person(server, "waits@example.org", is_owner=False, roles=roles) as somebody:
        request = head_of("GET", target, headers={"Cookie": f"{COOKIE}={somebody.token}"})
        with ExitStack() as held:
            for _ in range(HOLDER_STREAMS_MAX):
                held.enter_context(Watcher(server.port)).start_by(request)
            window = new_window(somebody)
            window.expected.add(429)
            page = window.go(f"{shop.path}/events/live")
            expect(page.locator("[data-live-state]")).to_contain_text("reconnecting")
        expect(page.locator("[data-live-state]")).to_contain_text("Connected", timeout=20_000)


def test_what_failed_is_understood_and_replayed(window: Window, shop: Shop) -> None:
    shop.make_webhook(DEAD_URL, "order.*")
    shop.send("order.completed", external_id="ann")
    shop.wait_for_dead_letters(1)
    page = window.go(f"{shop.path}/dead-letters")
    window.check_axe()
    window.shoot("dead-letters")
    page.get_by_role("link", name="name not resolved", exact=True).click()
    page.locator("tbody a").first.click()
    expect(page.locator(".summary")).to_contain_text("Its delivery failed.")
    window.check_axe()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status")).to_contain_text("Queued again")
    expect(page.locator(".timeline")).to_contain_text("Replayed by")
    shop.wait_for_dead_letters(1)
    page = window.go(f"{shop.path}/dead-letters")
    page.get_by_role("link", name="Replay", exact=False).last.click()
    expect(page.locator("h1")).to_have_text("Replay 1 dead letter")
    page.get_by_role("button", name="Replay 1").click()
    expect(page.locator("h1")).to_have_text("Replay")
    shop.wait(lambda: "1 of 1 replayed" in (page.locator("main").text_content() or ""))


def test_a_policy_works_and_a_revoked_key_does_not(window: Window, shop: Shop) -> None:
    page = window.go(f"{shop.path}/policies")
    field = page.locator("[name=value]").locator("visible=true")
    assert field.count() > 0
    page = window.go(f"{shop.path}/keys")
    page.get_by_text("Revoke", exact=True).first.click()
    page.get_by_role("button", name="Revoke", exact=False).last.click()
    shop.wait(lambda: shop.client.get("/events").status_code == 401)
    page = window.go(f"{shop.path}/keys")
    expect(page.locator("main")).to_contain_text("revoked")


def test_a_person_is_erased(window: Window, shop: Shop) -> None:
    event_id = shop.send("account.opened", external_id="ann", email="ann@example.org")
    shop.wait_until_processed(event_id)
    page = window.go(f"{shop.path}/contacts")
    page.locator("tbody a").first.click()
    window.check_axe()
    window.shoot("contact")
    page.get_by_text("Erase", exact=True).click()
    page.get_by_role("button", name="Erase the person").click()
    expect(page.locator("main")).to_contain_text("The person was erased.", timeout=20_000)
    window.shoot("erasure")
    window.expected.add(404)
    assert window.go(f"{shop.path}/events/{event_id}").locator("h1").text_content()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_hostile_values_do_nothing(
    new_window: OpenWindow, owner: Person, shop: Shop, width: int, scheme: str
) -> None:
    webhook_id = shop.make_webhook(f"{DEAD_URL}?{'q' * 300}", "*")
    shop.client.patch(f"/webhooks/{webhook_id}", json={"description": HOSTILE})
    payload = {HOSTILE: [HOSTILE, {"deep": HOSTILE}], "$set": {"plan": HOSTILE}}
    event_id = shop.send("a" * 200, external_id=HOSTILE, payload=payload)
    shop.client.post("/events", json={"event": HOSTILE, HOSTILE: HOSTILE})
    shop.wait_until_processed(event_id)
    shop.wait_for_dead_letters(1)
    contact = shop.client.get("/contacts").json()["data"][0]["id"]
    owner.post(f"{shop.path}/reveal", {"back": "/backoffice"})
    window = new_window(owner, width=width, scheme=scheme)
    shown = (f"events/{event_id}", f"contacts/{contact}", f"subscribers/{webhook_id}")
    for path in (*PAGES, *shown):
        page = window.go(f"{shop.path}/{path}")
        assert "Headrace" in page.title()
        assert page.locator("main script, main img").count() == 0
        window.check_width()
        window.check_axe()
        window.shoot(f"hostile-{path.split('/')[0]}-{path.count('/')}-{width}-{scheme}")


def test_cells_of_stacked_rows_keep_their_layout(
    new_window: OpenWindow, owner: Person, shop: Shop
) -> None:
    """On a phone each cell is a line of its own; its parts must not become narrow columns."""
    shop.client.post("/events", json={"event": "Not a name"})
    # Rejections are stored behind the response.
    shop.wait(lambda: bool(shop.client.get("/rejections").json()["data"]))
    page = new_window(owner, width=360).go(f"{shop.path}/rejections")
    route = page.get_by_text("POST /events", exact=True).bounding_box()
    assert route is not None
    assert route["width"] > 2 * route["height"]
