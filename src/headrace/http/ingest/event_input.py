"""Bodies with events, for the OpenAPI document.

They are decoded as `headrace.domain.events.event_types.EventInput`, which keeps a payload as bytes
and checks nothing else: `headrace.domain.events.fields` has the rules.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from headrace.http.routing.schema import (
    EVENT_NAME,
    IDEMPOTENCY_KEY,
    Email,
    ExternalId,
    Id,
    Time,
    about,
)

EVENTS_MAX = 1000


class EventInput(msgspec.Struct, forbid_unknown_fields=True):
    """An event. At least one of contact_id, external_id and email is required."""

    event: Annotated[
        str,
        about(
            "Name of the event. `sendrealm` and names that begin with `sendrealm.` are reserved.",
            **EVENT_NAME,
            **{"not": {"pattern": r"^sendrealm(\.|$)"}},
        ),
    ]
    contact_id: Id | None = None
    external_id: ExternalId | None = None
    email: Email | None = None
    payload: Annotated[dict[str, Any] | None, about("Kept byte for byte.")] = None
    occurred_at: Annotated[Time | None, about("When it happened; now if omitted.")] = None
    idempotency_key: Annotated[
        str | None,
        about(
            "Identifies this event in the project; sending it again creates no duplicate. "
            "What looks like an unset variable (`undefined`, `null`, `0`) is rejected.",
            **IDEMPOTENCY_KEY,
        ),
    ] = None


#: One of the three has to be there, and not null.
EVENT_INPUT_RULES: dict[str, Any] = {
    "not": {
        "properties": {name: {"type": "null"} for name in ("contact_id", "external_id", "email")}
    }
}


class BatchInput(msgspec.Struct, forbid_unknown_fields=True):
    """Events to ingest; each is checked separately, and a bad one does not affect the others."""

    events: Annotated[list[EventInput], about(minItems=1, maxItems=EVENTS_MAX)]


EXAMPLE = {
    "event": "order.completed",
    "external_id": "user_42",
    "payload": {"total": 49.9, "currency": "EUR"},
    "idempotency_key": "order-A-1001",
}
