"""A webhook in a browser: paused, resumed, its own headers, and what its calls looked like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.backoffice.browser.window import open_window
from tests.backoffice.cast import person
from tests.backoffice.shop import open_shop, page
from tests.support.raw_endpoint import RawEndpoint, raw_endpoint
from tests.support.server import RunningServer, running_server

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: shop/1\r\nSet-Cookie: id=s3cr3t-session\r\n"
    b"Content-Length: 22\r\n\r\nknown: a-secret-value\n"
)


@pytest.fixture
def calling(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that may call loopback."""
    environment = {"HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
    with running_server(tmp_path, env=environment) as running:
        yield running


@pytest.fixture
def endpoint() -> Iterator[RawEndpoint]:
    with raw_endpoint(RESPONSE) as running:
        yield running


def test_a_paused_webhook_waits_and_then_shows_what_it_sent(
    browser: Browser, calling: RunningServer, endpoint: RawEndpoint
) -> None:
    with person(calling) as owner, open_shop(calling, "shop") as shop:
        window = open_window(browser, calling, owner.token, width=1280, height=800, scheme="light")
        webhook = shop.make_webhook(endpoint.url, "order.*")
        path = f"{shop.path}/subscribers/{webhook}"
        at = window.go(path)
        at.get_by_label("Own headers").fill("X-Key: a-secret-value")
        at.get_by_role("button", name="Save").click()
        expect(at.get_by_label("Own headers")).to_have_value("X-Key: ***")
        at.get_by_role("button", name="Pause").click()
        expect(at.get_by_text("Paused. Its deliveries wait")).to_be_visible()
        event_id = shop.send("order.completed", external_id="ann")
        shop.wait(lambda: "1 deliveries wait" in page(owner, shop, f"/subscribers/{webhook}"))
        at = window.go(path)
        expect(at.locator("section", has_text="Health").first).to_contain_text("paused on request")
        window.check_axe()
        window.check_width()
        assert endpoint.requests == 0

        at.get_by_role("button", name="Resume").click()
        at.get_by_label("At most per second").fill("50")
        window.check_axe()
        at.get_by_role("button", name="Resume it").click()
        expect(at.get_by_text("Resumed.").first).to_be_visible()
        shop.wait(lambda: "HTTP 200" in page(owner, shop, f"/subscribers/{webhook}"))
        for place in (path, f"{shop.path}/events/{event_id}"):
            at = window.go(place)
            deliveries = at.locator("section", has=at.locator("#deliveries"))
            for name in ("1 · HTTP 200", "Request", "Response"):
                deliveries.locator("summary", has_text=name).first.click()
            expect(deliveries).to_contain_text(f"POST {endpoint.url}")
            expect(deliveries).to_contain_text("x-key: ***")
            expect(deliveries).to_contain_text("webhook-signature: v1,***")
            expect(deliveries).to_contain_text("server: shop/1")
            expect(deliveries).to_contain_text("known: ***")
            assert "s3cr3t" not in at.content()
            assert "a-secret-value" not in at.content()
            window.check_axe()
            window.check_width()
        window.close()
