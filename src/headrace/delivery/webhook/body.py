"""The body of a webhook: type, time, and the event as in `GET /events/{id}`, or a CloudEvent."""

from __future__ import annotations

import msgspec

from headrace.domain import timestamps
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.events.event import DeliveryStatus, Source, Status, StoredEvent
from headrace.domain.ids import uuid_text

_encode = msgspec.json.Encoder().encode


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """An event in JSON; the payload is the accepted text, byte for byte."""

    id: str
    event: str
    source: str
    status: str
    delivery_status: str
    #: Resolved, or as sent while the event has not been resolved.
    contact_id: str | None
    external_id: str | None
    email: str | None
    payload: msgspec.Raw
    occurred_at: str
    received_at: str
    idempotency_key: str | None
    attempts: int
    last_error: str | None


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body that is sent and signed."""

    type: str
    #: When the event occurred, not when it is delivered.
    timestamp: str
    data: EventData


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent 1.0 in structured mode; source and id are those of no other event."""

    specversion: str
    id: str
    source: str
    type: str
    #: The person as the sender knows it.
    subject: str | None = None
    time: str
    datacontenttype: str
    data: EventData


def webhook_body(event: StoredEvent, body_format: BodyFormat = BodyFormat.HEADRACE) -> bytes:
    """Encode the body; the same event in the same state gives the same bytes."""
    data = _data_of(event)
    if body_format is BodyFormat.HEADRACE:
        return _encode(WebhookBody(type=event.event, timestamp=data.occurred_at, data=data))
    return _encode(
        CloudEvent(
            specversion="1.0",
            id=data.id,
            source=f"urn:headrace:project:{event.project_id}",
            type=event.event,
            subject=event.external_id or None,
            time=data.occurred_at,
            datacontenttype="application/json",
            data=data,
        )
    )


def _data_of(event: StoredEvent) -> EventData:
    occurred_at = timestamps.to_text(event.occurred_us)
    return EventData(
        id=uuid_text(event.id),
        event=event.event,
        source=Source(event.source).name.lower(),
        status=Status(event.status).name.lower(),
        # Every attempt sends the same bytes, so this one is under way.
        delivery_status=DeliveryStatus.PENDING.name.lower(),
        contact_id=event.resolved_contact_id or event.contact_id,
        external_id=event.external_id,
        email=event.email_original or event.email,
        payload=msgspec.Raw(event.payload.encode()),
        occurred_at=occurred_at,
        received_at=timestamps.to_text(event.received_us),
        idempotency_key=event.idempotency_key,
        attempts=event.attempts,
        last_error=event.last_error,
    )
