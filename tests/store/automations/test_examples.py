"""Each shipped example runs from its trigger to its end, along every branch."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.requests import TemplateFields
from headrace.store.contract.automations import Automation
from headrace.store.contract.messages import VersionContent
from tests.support.automation_mail import finish, messages
from tests.support.automation_push import PushShop, push_template
from tests.support.push_service import push_service
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations

EXAMPLES = Path(__file__).parents[3] / "examples"
DAY = 86_400
PUSH = {"locale": "en", "title": "Order {{ order_id }}", "message": "How was it?"}


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    shop = StoredAutomations(session)
    shop.contact(email="ann@example.net")
    return shop


def start(shop: StoredAutomations, file: str) -> Automation:
    """Publish an example, with everything that it names but push apps."""
    read = json.loads((EXAMPLES / file).read_text("utf-8"))
    definition = read["definition"]
    configs = [step["config"] for step in definition["steps"]]

    def named(kind: str) -> list[str]:
        return sorted({config[kind] for config in configs if kind in config})

    pushed = {config["template"] for config in configs if "app" in config}

    store, now_us = shop.session.store, shop.clock()
    for name in named("domain"):
        create = store.messages.domains.create
        shop.session.run(create(PROJECT, name, now_us, dkim=("s", ""), verified_by="t", actor="t"))
    for name in pushed:
        push_template(shop, name, PUSH)
    for name in sorted({*named("template")} - pushed):
        fields = TemplateFields(
            name=name, channel="email", subject_template="Hi", rendered_text="x"
        )
        made = shop.session.run(store.messages.templates.create(PROJECT, fields, now_us))
        content = VersionContent(subject="Hi", text="Hi")
        shop.session.run(store.messages.templates.publish(made, content, now_us, actor="t"))
    for name in named("topic"):
        topic = TopicFields(name=name, default_subscribed=True)
        shop.session.run(store.topics.create(PROJECT, topic, now_us))
    for name in {*named("audience"), "Power users"}:
        shop.session.run(store.audiences.create(PROJECT, AudienceFields(name=name), now_us))
    return shop.start_with(definition, read["name"])


def members(shop: StoredAutomations) -> list[str]:
    """Names of the audiences that the contact is in."""
    rows = shop.session.place.run_sql(
        "SELECT a.name FROM audience_members m JOIN audiences a ON a.id = m.audience_id"
    )
    return sorted(row[0] for row in rows)


def keys(shop: StoredAutomations, of: Automation) -> list[str]:
    return [key for key, _ in shop.path(of)]


def sent(shop: StoredAutomations) -> None:
    """Let the relay take all mail."""
    finish(shop, MessageStatus.SENT)
    shop.forward(60)


@pytest.mark.parametrize("clicks", [True, False])
def test_abandoned_checkout(shop: StoredAutomations, clicks: bool) -> None:
    of = start(shop, "abandoned-checkout.json")
    shop.send("checkout.started", {"amount": 4900, "checkout_id": "1", "url": "https://x.example"})
    shop.forward(3600)
    sent(shop)
    if clicks:
        payload = {"run_id": shop.runs(of)[0].id, "step_key": "reminder", "verdict": "person"}
        shop.send("sendrealm.mail.click", payload)
    shop.forward(DAY)
    assert keys(shop, of) == ["hour", "reminder", "clicked", *([] if clicks else ["cold"])]
    assert members(shop) == ([] if clicks else ["Cold checkouts"])


def test_abandoned_checkout_ends_with_the_order(shop: StoredAutomations) -> None:
    of = start(shop, "abandoned-checkout.json")
    shop.send("checkout.started", {"amount": 4900, "checkout_id": "1"})
    shop.send("order.completed", {"checkout_id": "2"})
    assert shop.runs(of)[0].status == "waiting"
    shop.send("order.completed", {"checkout_id": "1"})
    assert (shop.runs(of)[0].status, messages(shop)) == ("exited", [])


@pytest.mark.parametrize("opens", [True, False])
def test_order_follow_up(shop: StoredAutomations, opens: bool) -> None:
    with push_service() as service:
        pushing = PushShop(shop, service)
        pushing.register("phone")
        of = start(shop, "order-follow-up.json")
        shop.send("order.completed", {"order_id": "1"})
        sent(shop)
        if opens:
            payload = {"run_id": shop.runs(of)[0].id, "step_key": "thanks", "verdict": "person"}
            shop.send("sendrealm.mail.open", payload)
            pushing.work()
            assert pushing.payloads()[0]["notification"]["title"] == "Order 1"
        shop.forward(DAY)
    assert keys(shop, of) == ["thanks", "opened", "rate_us" if opens else "quiet"]
    assert members(shop) == ([] if opens else ["Does not open"])
    assert shop.detail(of).row.outcome == "clean"


@pytest.mark.parametrize(
    ("event", "last"),
    [
        ("payment.succeeded", "in_good_standing"),
        ("subscription.cancelled", "no_more_offers"),
        (None, "overdue"),
    ],
)
def test_payment_failed(shop: StoredAutomations, event: str | None, last: str) -> None:
    of = start(shop, "payment-failed.json")
    shop.send("payment.failed", {"invoice_id": "1", "reason": "card"})
    sent(shop)
    shop.send("payment.succeeded", {"invoice_id": "2"})
    if event is not None:
        shop.send(event, {"invoice_id": "1"})
    else:
        shop.forward(7 * DAY)
    assert keys(shop, of) == ["ask", "outcome", last]
    assert members(shop) == (["Overdue"] if event is None else [])
    left = shop.events_named("sendrealm.topic.unsubscribed")
    assert len(left) == (last == "no_more_offers")


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"seats": 5}, ["three_days_before", "size", "tell_sales"]),
        ({"projects": 1}, ["three_days_before", "size", "offer"]),
        ({}, ["three_days_before", "size"]),
    ],
)
def test_trial_is_ending(
    shop: StoredAutomations, properties: dict[str, Any], path: list[str]
) -> None:
    of = start(shop, "trial-ending.json")
    now = datetime.fromtimestamp(shop.clock() / 1_000_000, UTC)
    ends = (now + timedelta(days=10)).date().isoformat()
    shop.contact(properties={"trial_ends_on": ends, **properties})
    shop.send("trial.started", {"plan": "pro"})
    shop.forward(6 * DAY)
    assert keys(shop, of) == path[:1]
    shop.forward(DAY)
    assert keys(shop, of) == path
    told = [{name: each[name] for name in ("seats", "plan")} for each in shop.events_named(TOLD)]
    assert told == ([{"seats": 5, "plan": "pro"}] if "tell_sales" in path else [])
    assert len(messages(shop)) == ("offer" in path)


TOLD = "trial.ending_for_team"


@pytest.mark.parametrize("creates", [True, False])
def test_welcome_series(shop: StoredAutomations, creates: bool) -> None:
    of = start(shop, "welcome-series.json")
    person = shop.contact()
    shop.send("user.signed_up")
    sent(shop)
    if creates:
        shop.send("project.created", {"name": "Roof"})
        assert keys(shop, of) == ["welcome", "first_project", "activated"]
        changed = shop.session.run(shop.session.store.contacts.get(PROJECT, person.id))
        assert changed is not None
        assert changed.properties == {"stage": "activated", "first_project": "Roof"}
    else:
        shop.forward(3 * DAY)
        shop.forward(4 * DAY)
        assert keys(shop, of) == ["welcome", "first_project", "morning", "help"]
        assert [row[4] for row in messages(shop)] == ["welcome", "help"]
    # It is for each contact once.
    shop.send("user.signed_up")
    assert shop.reasons(of) == ["reentry_once"]


def test_every_example_is_here() -> None:
    text = Path(__file__).read_text("utf-8")
    files = sorted(path.name for path in EXAMPLES.glob("*.json"))
    assert len(files) == 5
    assert [name for name in files if f'"{name}"' not in text] == []
