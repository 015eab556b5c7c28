"""Events from columns of the view `stored_events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.events.event import DeliveryStatus, StoredEvent

_NAMES = (
    *("sequence", "id", "project_id", "event", "contact_id", "external_id", "email"),
    *("email_original", "idempotency_key", "occurred_us", "received_us", "source", "api_key_id"),
    *("request_id", "payload", "resolved_contact_id", "attempts", "last_error", "status"),
)
#: Of the view `stored_events`, named `e`.
COLUMNS = ", ".join(f"e.{name}" for name in _NAMES)
#: The `DeliveryStatus` of `e`, from the states of its deliveries: 3 is delivered, 4 dead-lettered.
DELIVERY_STATUS = (
    f"(SELECT CASE WHEN count(*) = 0 THEN {DeliveryStatus.NONE:d} "
    f"WHEN min(d.state) = 4 THEN {DeliveryStatus.FAILED:d} "
    f"WHEN max(d.state) = 4 THEN {DeliveryStatus.PARTLY_FAILED:d} "
    f"WHEN min(d.state) = 3 THEN {DeliveryStatus.DELIVERED:d} "
    f"ELSE {DeliveryStatus.PENDING:d} END "
    "FROM deliveries d WHERE d.lane = e.lane AND d.sequence = e.sequence)"
)
#: The columns of an event that is shown.
SHOWN_COLUMNS = f"{COLUMNS}, {DELIVERY_STATUS} AS delivery_status"


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """An event from `COLUMNS`."""
    return StoredEvent(**dict(zip(_NAMES, row, strict=True)))


def shown_event(row: Sequence[Any]) -> StoredEvent:
    """An event from `SHOWN_COLUMNS`."""
    return StoredEvent(**dict(zip((*_NAMES, "delivery_status"), row, strict=True)))
