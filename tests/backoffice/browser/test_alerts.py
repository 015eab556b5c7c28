"""Alerts, deliverability and the import of suppressions in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from headrace.delivery.mail.dkim import new_dkim_key
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.receiver_breaker import Rejection
from headrace.domain.timestamps import now_us
from headrace.domain.upkeep.alerts import AlertKind, Level, Reading
from headrace.store.contract.access import Project
from headrace.store.contract.messages import Message
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.receivers import Results
from headrace.store.store import Store
from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window
from tests.backoffice.cast import Person, in_store, project_path
from tests.support import mail
from tests.support.server import RunningServer

MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Project:
    """A project whose mail is rejected by one receiver, with an open and an ended alert."""
    return in_store(server, _set_up)


async def _set_up(store: Store) -> Project:
    at_us = now_us()
    project = await store.projects.create("alerts in a browser", at_us, actor="test")
    key = new_dkim_key("example.org", "s").private_pem.decode()
    await store.messages.domains.create(
        project.id, "example.org", at_us, dkim=("s", key), verified_by="test", actor="test"
    )
    request = mail.email_request()
    sent = await store.messages.emails.send(project.id, request, mail.CONTEXT, at_us)
    (message,) = sent.messages
    await store.database.write(lambda tx: _results(tx, message, at_us))
    rejected = Reading(
        project_id=project.id,
        kind=AlertKind.SENDER_REJECTED,
        subject="example.org example.net",
        level=Level.BAD,
        detail="example.net rejects example.org: 550 5.7.26 " + "unauthenticated " * 12,
    )
    disabled = Reading(
        project_id=project.id,
        kind=AlertKind.SUBSCRIBER_DISABLED,
        subject="s",
        level=Level.BAD,
        detail="webhook https://hooks.example.org/" + "a" * 90 + " is disabled: it is gone (410)",
    )
    await store.alerts.apply([rejected, disabled], at_us - 9 * MINUTE_US, ("webhook",))
    (notice,) = await store.alerts.due_notices(at_us, 1)
    await store.alerts.notice_failed(notice, at_us + 60 * MINUTE_US, "the endpoint returned 500")
    await store.alerts.apply([rejected], at_us, ())
    return project


async def _results(tx: Transaction, message: Message, at_us: int) -> None:
    results = Results(tx, at_us)
    for state, count in ((MessageStatus.SENT, 1234), (MessageStatus.DELIVERED, 1200)):
        for _ in range(count):
            results.count(message, state)
    for state in (MessageStatus.BOUNCED, MessageStatus.COMPLAINED, MessageStatus.BLOCKED):
        results.count(message, state)
    for _ in range(5):
        rejection = Rejection(
            message_id=message.id, code=550, status="5.7.26", diagnostic="unauthenticated " * 12
        )
        results.answered(message, rejection)
    await results.flush()


def open_domain(window: Window, shop: Project) -> None:
    page = window.go(f"{project_path(shop)}/domains")
    page.get_by_role("link", name="example.org").first.click()
    expect(page.get_by_role("heading", name="example.net rejects this domain")).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_the_pages_fit_and_are_accessible(
    new_window: OpenWindow, owner: Person, shop: Project, width: int, scheme: str
) -> None:
    window = new_window(owner, width=width, height=900, scheme=scheme)
    for name in ("alerts", "suppressions"):
        window.go(f"{project_path(shop)}/{name}")
        window.check_width()
        window.check_axe()
        window.shoot(f"{name}-{width}-{scheme}")
    open_domain(window, shop)
    window.check_width()
    window.check_axe()
    window.shoot(f"domain-{width}-{scheme}")


def test_a_banner_leads_to_what_is_wrong(window: Window, shop: Project) -> None:
    page = window.go(f"{project_path(shop)}/messages")
    page.get_by_role("link", name="1 open alert").click()
    main = page.locator("main")
    expect(main).to_contain_text("A receiver rejects a sending domain")
    expect(main).to_contain_text("550 5.7.26 unauthenticated")
    expect(main).to_contain_text("webhook: failed (the endpoint returned 500)")
    expect(page.get_by_role("region", name="Ended alerts")).to_contain_text("it is gone (410)")
    expect(page.get_by_role("note")).to_have_count(0)
    page.get_by_role("link", name="Open sending domains").click()
    expect(page).to_have_url(f"{window.server.url}/backoffice{project_path(shop)}/domains")


def test_a_pasted_list_is_imported(window: Window, shop: Project) -> None:
    page = window.go(f"{project_path(shop)}/suppressions")
    window.expected = {422}
    page.get_by_label("CSV").fill("email,reason\nann@b.example,bounce\nnobody,\n")
    page.get_by_role("button", name="Import").click()
    expect(page.locator("main")).to_contain_text("1 added, 0 already listed, 1 rejected.")
    expect(page.locator("main")).to_contain_text("Line 3: the address 'nobody'")
    window.check_axe()
