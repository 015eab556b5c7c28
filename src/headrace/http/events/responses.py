"""Responses about events, built from the types of the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headrace.domain.events.event import DeliveryStatus, FirstCopy, Source, Status, StoredEvent
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import to_text
from headrace.http.routing.schema import EventName, Id, Time, about
from headrace.store.contract.events import KeyRepeat
from headrace.store.contract.rejections import Rejection

StatusName = Literal["accepted", "processing", "retrying", "processed", "dead_lettered"]
DeliveryStatusName = Literal["none", "pending", "delivered", "partly_failed", "failed"]
SourceName = Literal["api", "batch", "import", "system", "client", "segment"]

STATUS_NAMES: dict[int, StatusName] = {status.value: status.name.lower() for status in Status}  # type: ignore[misc]
DELIVERY_STATUS_NAMES: dict[int, DeliveryStatusName] = {
    status.value: status.name.lower()  # type: ignore[misc]
    for status in DeliveryStatus
}
SOURCE_NAMES: dict[int, SourceName] = {source.value: source.name.lower() for source in Source}  # type: ignore[misc]


class Incomplete(msgspec.Struct):
    """Set when a page ended among events that no worker has processed yet.

    Such events are in no index, so one page tests at most 100,000 of them; `next_cursor` continues.
    """

    unindexed: Annotated[int, about("Events that wait to be processed, counted up to 1,000,000.")]


class Accepted(msgspec.Struct):
    """A new event, on stable storage."""

    id: Id
    event: EventName
    resolved_identity_type: Literal["contact_id", "external_id", "email"]
    resolved_identity_value: str
    occurred_at: Time


class Deduplicated(msgspec.Struct):
    """The event that was first stored under the key; it is on stable storage."""

    id: Id
    event: EventName
    deduplicated: Annotated[Literal[True], about(type="boolean", const=True)]
    occurred_at: Time


class Event(msgspec.Struct, kw_only=True):
    """An event."""

    id: Id
    event: EventName
    source: SourceName
    status: StatusName
    delivery_status: Annotated[
        DeliveryStatusName,
        about(
            "How its deliveries went, all together. In webhook bodies always `pending`, since the "
            "delivery is under way."
        ),
    ]
    contact_id: Annotated[
        Id | None,
        about("Contact of the event: the one it was resolved to, before that the one it names."),
    ]
    external_id: str | None
    email: str | None
    payload: Annotated[
        msgspec.Raw,
        about(
            "The JSON as it was sent, byte for byte.",
            type="object",
            additionalProperties=True,
            examples=[{"total": 49.9, "currency": "EUR"}],
        ),
    ]
    occurred_at: Time
    received_at: Time
    idempotency_key: str | None
    attempts: int
    last_error: str | None


class RejectionResponse(msgspec.Struct, kw_only=True):
    """A rejected request or event. Only the structure of the body is shown."""

    id: str
    at: Time
    status: int
    code: str
    message: str
    details: list[dict[str, str]]
    route: str
    api_key: str | None
    request_id: str | None
    body_shape: dict[str, str]
    body_bytes: int


def event_response(event: StoredEvent) -> Event:
    """An event as the API shows it."""
    return Event(
        id=uuid_text(event.id),
        event=event.event,
        source=SOURCE_NAMES[event.source],
        status=STATUS_NAMES[event.status],
        delivery_status=DELIVERY_STATUS_NAMES[event.delivery_status],
        contact_id=event.resolved_contact_id or event.contact_id,
        external_id=event.external_id,
        email=event.email_original or event.email,
        payload=msgspec.Raw(event.payload.encode()),
        occurred_at=to_text(event.occurred_us),
        received_at=to_text(event.received_us),
        idempotency_key=event.idempotency_key,
        attempts=event.attempts,
        last_error=event.last_error,
    )


def rejection_response(rejection: Rejection) -> RejectionResponse:
    """A rejection as the API shows it."""
    return RejectionResponse(
        id=str(rejection.id),
        at=to_text(rejection.at_us),
        status=rejection.status,
        code=rejection.code,
        message=rejection.message,
        details=[{"field": field, "message": message} for field, message in rejection.details],
        route=rejection.route,
        api_key=rejection.api_key_id,
        request_id=rejection.request_id,
        body_shape=rejection.body_shape,
        body_bytes=rejection.body_bytes,
    )


_encode = msgspec.json.encode


def accepted_body(
    event_id: bytes, name: str, identity_type: str, identity_value: str, occurred_us: int
) -> bytes:
    """`{"data": Accepted}`, formatted by hand for speed: only the identity can need escaping."""
    return (
        f'{{"data":{{"id":"{uuid_text(event_id)}","event":"{name}",'
        f'"resolved_identity_type":"{identity_type}","resolved_identity_value":'
    ).encode() + b'%b,"occurred_at":"%b"}}' % (
        _encode(identity_value),
        to_text(occurred_us).encode(),
    )


def accepted(
    event_id: bytes, name: str, identity_type: str, identity_value: str, occurred_us: int
) -> Accepted:
    """The same as an object, for batches."""
    return Accepted(
        uuid_text(event_id),
        name,
        identity_type,  # type: ignore[arg-type]
        identity_value,
        to_text(occurred_us),
    )


def deduplicated(first: FirstCopy) -> Deduplicated:
    """Response to a repeat."""
    return Deduplicated(uuid_text(first.id), first.event, True, to_text(first.occurred_us))  # noqa: FBT003


class Repeat(msgspec.Struct):
    """A later request with the same idempotency key."""

    at: Time
    api_key: str | None
    request_id: str | None
    mismatch: bool


def repeat_response(repeat: KeyRepeat) -> Repeat:
    """A repeat as the trace shows it."""
    return Repeat(to_text(repeat.at_us), repeat.api_key_id, repeat.request_id, repeat.mismatch)
