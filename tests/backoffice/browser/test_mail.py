"""Mail in a browser: sent, viewed safely, explained, stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window
from tests.backoffice.cast import Person
from tests.backoffice.mailing import RUDE_HTML, mask, reveal, send_and_wait
from tests.backoffice.shop import Shop, open_shop
from tests.support.server import RunningServer

LONG = "w" * 60
#: An address of maximum length without a place to break the line.
LONG_ADDRESS = f"{LONG}@{LONG}.{LONG}.example"


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int], owner: Person) -> Iterator[Shop]:
    """A project of its own, with masked personal data."""
    with open_shop(server, f"mail in a browser {next(numbers)}") as shop:
        mask(shop, owner)
        yield shop


def test_a_mail_is_sent_found_and_read(window: Window, shop: Shop, owner: Person) -> None:
    message_id = send_and_wait(shop, owner, subject="Hello Ann", html=RUDE_HTML)
    page = window.go(f"{shop.path}/messages")
    expect(page.get_by_role("note")).to_contain_text("No mail leaves this machine")
    window.check_axe()
    page.locator("tbody a").first.click()
    expect(page).to_have_url(f"{shop.server.url}/backoffice{shop.path}/messages/{message_id}")
    expect(page.locator(".timeline")).to_contain_text("Attempt 1 through capture:")
    expect(page.locator("main")).not_to_contain_text("Hello Ann")
    page.get_by_role("button", name="Show personal data").click()
    expect(page.locator("main")).to_contain_text("Hello Ann")
    mail = page.frame_locator("iframe.mail-frame")
    expect(mail.locator("b")).to_have_text("way")
    # Its own style applies, its script did not run, and its links have no target.
    colour = mail.locator("p").evaluate("element => getComputedStyle(element).color")
    assert colour == "rgb(0, 102, 51)"
    assert "Headrace" in page.title()
    mail.get_by_text("Track it").click()
    expect(mail.locator("b")).to_have_text("way")
    expect(page).to_have_url(f"{shop.server.url}/backoffice{shop.path}/messages/{message_id}")
    # Caused by the driver, which inspects the frame; the tests below check what the mail causes.
    window.wrong = [each for each in window.wrong if "Blocked script execution" not in each]
    window.check_axe()
    window.shoot("message")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the whole mail").click()
    assert download.value.suggested_filename == f"{message_id}.eml"


def test_sending_is_stopped_by_a_button(window: Window, shop: Shop) -> None:
    page = window.go(f"{shop.path}/messages")
    page.get_by_role("button", name="Stop sending…").click()
    page.get_by_label("All mail").check()
    window.check_axe()
    window.shoot("messages-stop", full=False)
    page.get_by_role("button", name="Stop now").click()
    expect(page.locator(".stop-banner")).to_contain_text("all mail of this project")
    window.check_axe()
    window.go(shop.path)
    expect(page.locator(".stop-banner")).to_be_visible()
    page.get_by_role("button", name="Resume sending…").click()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator(".stop-banner")).to_have_count(0)


@pytest.mark.parametrize(
    ("width", "scheme"), [(400, "dark"), (400, "light"), (1280, "dark"), (1600, "light")]
)
def test_pages_of_mail_fit_and_are_accessible(
    new_window: OpenWindow, owner: Person, shop: Shop, width: int, scheme: str
) -> None:
    reveal(shop, owner)
    subject = f"Subject {LONG * 4}"
    kinds: dict[str, Any] = {
        "from": f"Shop <news@{LONG}.example>",
        "to": [LONG_ADDRESS],
        "subject": subject,
    }
    file = {"name": f"{LONG * 3}.txt", "type": "text/plain", "data": "aGFsbG8="}
    sent = send_and_wait(shop, owner, html=RUDE_HTML, attachments=[file], **kinds)
    shop.client.post("/suppressions", json={"email": LONG_ADDRESS, "reason": LONG * 3})
    skipped = send_and_wait(shop, owner, "skipped", **kinds)
    owner.post(f"{shop.path}/domains", {"name": f"{LONG}.{LONG}.{LONG}.example"})
    owner.post(f"{shop.path}/domains", {"name": "example.org", "track": "yes"})
    domain = shop.client.get("/domains").json()["data"][-1]["id"]
    template = shop.client.post(
        "/templates",
        json={
            "name": f"Welcome {LONG}",
            "channel": "email",
            "subject_template": "Welcome, {{ first_name | default: 'friend' }}",
            "rendered_html": "<p>Good to <b>have</b> you.</p>" + LONG * 5,
        },
    ).json()["data"]["id"]
    owner.post(f"{shop.path}/templates/{template}/publish")
    audience = shop.client.post("/audiences", json={"name": "All"}).json()["data"]["id"]
    topic = shop.client.post("/topics", json={"name": "News"}).json()["data"]["id"]
    job = shop.client.post(
        "/emails",
        json={
            "from": "a@example.org",
            "audiences": [audience],
            "kind": "marketing",
            "topic_id": topic,
            "subject": "News",
            "text": "News",
        },
    )
    assert job.status_code == 201, job.text
    contact = shop.client.get("/contacts").json()["data"][0]["id"]
    shop.client.post(f"/audiences/{audience}/contacts", json={"contact_ids": [contact]})
    form = {"from": "a@example.org", "audience": audience, "topic_id": topic}
    form |= {"subject": subject, "text": "News"}
    draft = owner.post(f"{shop.path}/send-jobs", form).headers["location"]
    draft = draft.partition("/send-jobs/")[2]
    owner.post(f"{shop.path}/messages/stop", {"what": "push"})
    owner.post(f"{shop.path}/messages/stop", {"what": "domain", "domain": f"{LONG}.example"})
    window = new_window(owner, width=width, scheme=scheme)
    for name, path in (
        ("list", "messages"),
        ("sent", f"messages/{sent}"),
        ("skipped", f"messages/{skipped}"),
        ("domains", "domains"),
        ("domain", f"domains/{domain}"),
        ("templates", "templates"),
        ("template", f"templates/{template}"),
        ("suppressions", "suppressions"),
        ("jobs", "send-jobs"),
        ("job", f"send-jobs/{job.json()['data']['id']}"),
        ("draft", f"send-jobs/{draft}"),
        ("new-send", "send-jobs/new"),
        ("policies", "policies"),
        ("contact", f"contacts/{contact}"),
    ):
        window.go(f"{shop.path}/{path}")
        window.check_width()
        window.check_axe()
        window.shoot(f"mail-{name}-{width}-{scheme}")
