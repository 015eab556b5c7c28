"""The event that a handler receives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec

from headrace.delivery.contract import Delivery
from headrace.domain.events.event import Source

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One event, immutable."""

    id: UUID
    #: Its name, such as `order.completed`.
    event: str
    #: The contact it was resolved to, or as sent without one.
    contact_id: UUID | None
    external_id: str | None
    #: As sent.
    email: str | None
    #: JSON text of the payload, exactly as it was accepted.
    payload_text: str
    #: Both in UTC.
    occurred_at: datetime
    received_at: datetime
    idempotency_key: str | None
    #: `api`, `batch`, `import` or `system`.
    source: str
    #: The same over all attempts: use it as a key to make an effect happen only once.
    delivery_id: UUID
    #: Number of this attempt, from 1.
    attempt: int

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The payload, decoded when first asked for. Numbers beyond a double lose digits.

        Raises:
            ValueError: Python cannot hold a number in it (`1e400`); `payload_text` has it.
        """
        decoded: dict[str, Any] = msgspec.json.decode(self.payload_text)
        return decoded


def event_of(delivery: Delivery) -> Event:
    """The event of a delivery for a handler."""
    stored = delivery.event
    contact_id = stored.resolved_contact_id or stored.contact_id
    return Event(
        id=UUID(bytes=stored.id),
        event=stored.event,
        contact_id=UUID(contact_id) if contact_id else None,
        external_id=stored.external_id,
        email=stored.email_original or stored.email,
        payload_text=stored.payload,
        occurred_at=_datetime(stored.occurred_us),
        received_at=_datetime(stored.received_us),
        idempotency_key=stored.idempotency_key,
        source=Source(stored.source).name.lower(),
        delivery_id=UUID(delivery.id),
        attempt=delivery.attempt,
    )


def _datetime(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)
