"""Events from columns of the view `stored_events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.events.event import StoredEvent

_NAMES = (
    *("sequence", "id", "project_id", "event", "contact_id", "external_id", "email"),
    *("email_original", "idempotency_key", "occurred_us", "received_us", "source", "api_key_id"),
    *("request_id", "payload", "resolved_contact_id", "attempts", "last_error", "status"),
)
#: Of the view `stored_events`, named `e`.
COLUMNS = ", ".join(f"e.{name}" for name in _NAMES)


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """An event from `COLUMNS`."""
    return StoredEvent(**dict(zip(_NAMES, row, strict=True)))
