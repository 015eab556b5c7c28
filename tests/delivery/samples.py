"""Events and deliveries as the tests send them."""

from __future__ import annotations

import uuid

import msgspec

from headrace.delivery.contract import Delivery, HandlerTarget, WebhookTarget
from headrace.delivery.webhook.addresses import parse_networks
from headrace.domain.events.event import Source, Status, StoredEvent

LOOPBACK = parse_networks("127.0.0.0/8")
DELIVERY_ID = "0199a000-0000-4000-8000-000000000001"
#: 32 bytes, made up.
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER_SECRET = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="

EVENT = StoredEvent(
    sequence=1,
    id=uuid.UUID("0199a000-0000-7000-8000-0000000000aa").bytes,
    project_id=1,
    event="order.completed",
    contact_id=None,
    external_id="customer-7",
    email="mike@x.org",
    email_original="MIKE@X.ORG",
    idempotency_key="order-7",
    occurred_us=1_780_928_100_123_456,
    received_us=1_780_928_101_000_000,
    source=Source.API,
    api_key_id=None,
    request_id=None,
    payload='{"total": 12.50,  "note":"caf\\u00e9 ☕", "big": 1e400}',
    status=Status.PROCESSED,
    resolved_contact_id="c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
    attempts=1,
    last_error=None,
)


def event(**changes: object) -> StoredEvent:
    return msgspec.structs.replace(EVENT, **changes)


def webhook(url: str, *secrets: str, attempt: int = 1, of: StoredEvent = EVENT) -> Delivery:
    target = WebhookTarget(url=url, secrets=secrets or (SECRET,))
    return Delivery(id=DELIVERY_ID, attempt=attempt, event=of, target=target)


def call(name: str, of: StoredEvent = EVENT, attempt: int = 1) -> Delivery:
    return Delivery(id=DELIVERY_ID, attempt=attempt, event=of, target=HandlerTarget(name=name))
