"""Events for direct use in a store, without the checks of the edge."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from headrace.domain.events.event import NewEvent, Source, Status, StoredEvent
from headrace.domain.events.identity import IdentityType, idempotency_hash, lane_of
from headrace.domain.ids import id_of_sequence

#: 2026-06-08T14:15:00Z
START_US = 1_780_928_100_000_000

_numbers = itertools.count(1)


def new_event(*, project_id: int = 1, key: str | None = None, **changes: Any) -> NewEvent:
    """An event with a sequence above all earlier ones; `changes` set any field."""
    number = next(_numbers)
    sequence = changes.get("sequence", ((START_US // 1000) << 21) + number)
    external_id = changes.get("external_id", "customer-1")
    lane = lane_of(project_id, IdentityType.EXTERNAL_ID, external_id or "")
    event = NewEvent(
        sequence=sequence,
        id=id_of_sequence(sequence, lane, number),
        project_id=project_id,
        lane=lane,
        event="order.completed",
        contact_id=None,
        external_id=external_id,
        email=None,
        email_original=None,
        idempotency_hash=None if key is None else idempotency_hash(project_id, key),
        idempotency_key=key,
        occurred_us=START_US,
        received_us=START_US,
        source=Source.API,
        api_key_id="0123456789abcdef",
        request_id="r1",
        payload='{"total": 12.50}',
    )
    return msgspec.structs.replace(event, **changes)


def as_stored(event: NewEvent, **changes: Any) -> StoredEvent:
    """What the store must return for an event that was just accepted."""
    values = msgspec.structs.asdict(event)
    del values["lane"], values["idempotency_hash"]
    values |= {"status": Status.ACCEPTED, "resolved_contact_id": None}
    values |= {"attempts": 0, "last_error": None}
    return StoredEvent(**(values | changes))
