"""What steps that send pushes need, and a sender and devices that go by the test's clock."""

from __future__ import annotations

import json
import random
from typing import Any

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.requests import TemplateFields
from headrace.domain.push.client_events import OPEN, TAP_US
from headrace.pipeline.messages.push_templates import publish_push
from headrace.pipeline.push.sender import PushSender, PushStores
from headrace.store.push.outbox import PushOutbox
from tests.support import pushes
from tests.support.push_service import PushService, Received, Subscription
from tests.support.stored_automations import OWNER, PROJECT, SECOND_US, StoredAutomations

ENGLISH = {
    "locale": "en",
    "title": "Order {{ number }}",
    "message": "How was it, {{ contact.properties.name | default: 'friend' }}?",
    "launch_url": "https://shop.example/orders/{{ payload.order_id }}",
}
GERMAN = {"locale": "de", "title": "Bestellung {{ number }}", "message": "Wie war es?"}


def send_push(**config: Any) -> dict[str, Any]:
    """A step that sends the push template."""
    named = {
        "template": "Rate it",
        "app": "shop",
        "topic": "News",
        "variables": {"number": "trigger.payload.order_id"},
    }
    return {"type": "send_push_template", "config": named | config}


def push_template(
    shop: StoredAutomations, name: str, *texts: dict[str, Any], buttons: Any = (), data: Any = None
) -> None:
    """Publish a push template."""
    store, now_us = shop.session.store.messages.templates, shop.clock()
    body = json.dumps(texts).encode()
    fields = TemplateFields(name=name, channel="push", default_locale="en", messages=())
    made = shop.session.run(store.create(PROJECT, fields, now_us))
    draft = type(made.draft)(
        default_locale="en",
        messages=body.decode(),
        buttons=json.dumps(buttons),
        data=json.dumps(data or {}),
    )
    content = publish_push(draft)
    shop.session.run(store.publish(made, content, now_us, actor="t"))


class PushShop:
    """Adds a push app, devices of the contact, and the sending of pushes to automations."""

    def __init__(self, shop: StoredAutomations, service: PushService, app: str = "shop") -> None:
        self.shop = shop
        self.service = service
        self.app = pushes.new_app(shop.session, PROJECT, app)
        self.browsers: dict[str, Subscription] = {}
        held = shop.session.store.push.outbox
        self.outbox = PushOutbox(
            held._database,
            held._system_events,
            held._keys,
            shop.clock,
            lanes=held._lanes,
            is_alive=lambda owner: owner == OWNER,
        )

    def set_up(self) -> None:
        """A topic and a published template."""
        topic = TopicFields(name="News", default_subscribed=True)
        self.shop.session.run(self.shop.session.store.topics.create(PROJECT, topic, 1))
        push_template(self.shop, "Rate it", ENGLISH, GERMAN)

    def register(self, device_id: str, **facts: Any) -> None:
        """A device of the contact."""
        browser = self.browsers[f"/push/{device_id}"] = self.service.subscription(device_id)
        session = self.shop.session
        pushes.register(
            session, PROJECT, self.app, device_id, browser, external_id="customer-1", **facts
        )

    def work(self) -> None:
        """Send what is due, then let the runs go on."""

        async def main() -> None:
            transport = pushes.web_push(self.service.origin)
            sender = PushSender(
                PushStores(outbox=self.outbox, materials=self.shop.session.store.push.materials),
                transport,
                owner=OWNER,
                clock_us=self.shop.clock,
                rng=random.Random(7),
            )
            try:
                await sender.run_once()
                await sender.idle()
            finally:
                await sender.stop()
                await transport.close()

        self.shop.session.run(main())
        self.shop.forward(60)

    def payloads(self) -> list[dict[str, Any]]:
        """What each browser got, in order of arrival."""
        return [self.payload(one) for one in self.service.received]

    def payload(self, one: Received) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.browsers[one.path].decrypt(one.body))
        members: dict[str, Any] = found["sendrealm_v1"]
        return members

    def ids(self) -> list[str]:
        """Ids of the notifications that browsers got, in order of arrival."""
        return [one["metadata"]["notification_id"] for one in self.payloads()]

    def tap(self, device_id: str, notification_id: str) -> None:
        """The user opens a notification; the event about it follows."""
        session, reports = self.shop.session, self.shop.session.store.push.reports
        note = reports.note(self.app, device_id, notification_id, OPEN, None, self.shop.clock())
        assert session.run(note)
        self.shop.clock.forward(TAP_US / SECOND_US + 1)
        assert session.run(reports.settle(self.shop.clock(), 10)) == 1
        self.shop.settle()

    def messages(self) -> list[tuple[Any, ...]]:
        """Columns: state, reason, contact, automation, step; in the order of creation."""
        return [
            tuple(row)
            for row in self.shop.session.place.run_sql(
                "SELECT state, reason, contact_id, automation_id, step_key FROM messages "
                "WHERE channel = 'push' ORDER BY created_us"
            )
        ]

    def notifications(self) -> list[str]:
        """States of all notifications."""
        rows = self.shop.session.place.run_sql(
            "SELECT state FROM push_notifications ORDER BY created_us, id"
        )
        return [row[0] for row in rows]
