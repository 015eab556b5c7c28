"""What a store keeps about one event, from which its trace is built.

All of it is stored for other reasons; nothing is written only for the trace.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.deliveries.attempt_requests import WebhookVersion
from headrace.domain.events.event import StoredEvent
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract.deliveries import DeliveryRecord, SubscriberKind

#: Rows of one kind that are read for a trace.
ROWS_MAX = 500


class KeyUsed(msgspec.Struct, frozen=True):
    """A later request with the event's idempotency key."""

    at_us: int
    api_key_id: str | None
    request_id: str | None
    #: Whether its content differed.
    mismatch: bool


class ProcessingAttempt(msgspec.Struct, frozen=True):
    """A failed attempt at processing; a successful one leaves no row."""

    number: int
    #: When it failed.
    at_us: int
    duration_us: int
    cause: str
    error: str


class TracedSubscriber(msgspec.Struct, frozen=True, kw_only=True):
    """A subscriber as it is now."""

    id: str
    kind: SubscriberKind
    target: str
    events: tuple[str, ...]
    enabled: bool
    disabled_reason: str | None
    disabled_us: int | None
    created_us: int
    updated_us: int
    #: Since when its owner keeps deliveries waiting; None: they are made.
    paused_us: int | None = None
    #: What its requests depended on and depend on; see `Subscriber.versions`.
    versions: tuple[WebhookVersion, ...] = ()


class TracedDeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter of the event and how it was closed."""

    id: str
    kind: DeadLetterKind
    subscriber_id: str | None
    cause: str
    error: str
    attempts: int
    dead_lettered_us: int
    state: DeadLetterState
    #: These three are None while it is open.
    closed_us: int | None
    closed_by: str | None
    #: Why it was discarded, or of which replay it was part.
    reason: str | None
    #: The run of an automation that failed; None for everything else.
    run_id: str | None = None


class TraceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One event with everything about it; each list oldest first, at most `ROWS_MAX`."""

    event: StoredEvent
    #: JSON text of the decision about the contact; None until the event is processed.
    resolution: str | None
    processed_us: int | None
    #: End of the current claim's lease; None when no worker has claimed the event.
    lease_until_us: int | None
    #: Attempt of that worker.
    leased_attempt: int
    #: When the next attempt is due; None when the event waits for no retry.
    retry_due_us: int | None
    repeats: Sequence[KeyUsed]
    attempts: Sequence[ProcessingAttempt]
    deliveries: Sequence[DeliveryRecord]
    dead_letters: Sequence[TracedDeadLetter]
    #: Of the event's project, and the handlers of all projects.
    subscribers: Sequence[TracedSubscriber]
