"""Push apps, devices and requests in a store, and a sender as in the worker."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from headrace.delivery.push.contract import PushTransport
from headrace.delivery.push.keys import new_vapid_keys
from headrace.delivery.push.web_push import WebPushTransport
from headrace.delivery.webhook.addresses import parse_networks
from headrace.domain.push.app_requests import PushAppFields
from headrace.domain.push.client_requests import Address, Identity, Report
from headrace.domain.push.devices import Facts
from headrace.domain.push.hosts import parse_push_hosts
from headrace.domain.push.kinds import Environment, Permission, Platform
from headrace.domain.push.request import PushRequest, decode_push
from headrace.pipeline.messages.sender import SenderOptions
from headrace.pipeline.push.sender import PushSender, PushStores
from headrace.store.push.devices import Linking, Registration
from headrace.store.push.sends import PushSend
from headrace.store.store import Store
from tests.support import stored_contacts
from tests.support.events import START_US
from tests.support.push_service import Subscription
from tests.support.session import StoreSession


def new_app(session: StoreSession, project_id: int, name: str = "web") -> str:
    keys = new_vapid_keys()
    made = session.run(
        session.store.push.apps.create(
            project_id,
            PushAppFields(name=name),
            START_US,
            vapid=(keys.public, keys.private_pem),
            actor="test",
        )
    )
    return made.id


def register(
    session: StoreSession,
    project_id: int,
    app_id: str,
    device_id: str,
    subscription: Subscription | str,
    *,
    external_id: str | None = "ann",
    platform: Platform = Platform.WEB,
    **facts: Any,
) -> str | None:
    """Register a device; returns the contact that is logged in."""
    if isinstance(subscription, str):
        address = Address(address=subscription)
    else:
        address = Address(
            address=subscription.endpoint, p256dh=subscription.p256dh, auth=subscription.auth
        )
    report = Report(
        device_id=device_id,
        platform=platform,
        environment=Environment.PRODUCTION,
        permission=Permission.AUTHORIZED,
        subscribed=True,
        facts=Facts(**facts),
    )
    registered = session.run(
        session.store.push.devices.register(
            project_id,
            app_id,
            device_id,
            Registration(
                report=report, address=address, identity=Identity(external_id=external_id)
            ),
            session.store.clock_us(),
            Linking(create=True, link=True),
        )
    )
    return registered.device.contact_id


def push_request(app_id: str, **members: Any) -> PushRequest:
    """A valid request to Ann; `members` are the fields of its body."""
    body: dict[str, Any] = {"app_id": app_id, "notification": {"title": "Hello", "body": "There"}}
    named = {"tokens", "web_subscriptions", "device_ids", "contact_ids", "emails", "audiences"}
    if not named & set(members):
        body["external_ids"] = ["ann"]
    return decode_push(json.dumps(body | members).encode(), START_US)


def send(session: StoreSession, project_id: int, app_id: str, **members: Any) -> PushSend:
    now_us = session.store.clock_us()
    request = push_request(app_id, **members)
    return session.run(session.store.push.sends.send(project_id, request, now_us, actor="test"))


def found(session: StoreSession, sent: PushSend) -> PushSend:
    """A request as it is now."""
    held = session.run(session.store.push.sends.get(sent.project_id, sent.id))
    assert held is not None
    return held


def states(session: StoreSession, sent: PushSend) -> dict[str, int]:
    """Notifications of a request by their current state."""
    return found(session, sent).states


def web_push(origin: str, **options: Any) -> WebPushTransport:
    return WebPushTransport(
        parse_push_hosts(origin), allowed=parse_networks("127.0.0.0/8"), **options
    )


def new_sender(store: Store, transport: PushTransport, owner: str, **options: Any) -> PushSender:
    return PushSender(
        PushStores(outbox=store.push.outbox, materials=store.push.materials),
        transport,
        owner=owner,
        clock_us=store.clock_us,
        rng=random.Random(7),
        options=SenderOptions(**options) if options else None,
    )


def work(session: StoreSession, origin: str, owner: str, rounds: int = 1) -> PushSender:
    """Send what is due, as a worker would, this many times."""

    async def main() -> PushSender:
        transport = web_push(origin)
        sender = new_sender(session.store, transport, owner)
        try:
            for _ in range(rounds):
                await sender.run_once()
                await sender.idle()
        finally:
            await sender.stop()
            await transport.close()
        return sender

    return session.run(main())


def make_due(session: StoreSession) -> None:
    """Make messages that wait for a later time due now."""
    session.place.run_sql("UPDATE messages SET due_us = 1 WHERE due_us IS NOT NULL")


def system_events(session: StoreSession, name: str) -> Sequence[dict[str, Any]]:
    """Payloads of the system events of that name."""
    return [payload for _, payload in stored_contacts.system_events(session, name)]
