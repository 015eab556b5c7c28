"""An event as sent, stored and shown."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Source(IntEnum):
    """How an event was received; stored as its number."""

    API = 0
    BATCH = 1
    IMPORT = 2
    SYSTEM = 3
    #: A client of a push app, which has no key.
    CLIENT = 4
    #: A client library of Segment, RudderStack or Jitsu.
    SEGMENT = 5


#: Sources whose clients may send an event again with another time: the time of a message is
#: corrected by when it was sent, which differs at each attempt.
RESENT_WITH_OTHER_TIME = frozenset({Source.SEGMENT})


class Status(IntEnum):
    """State of an event; stored as its number.

    accepted -> processing -> processed, or -> retrying -> ... -> dead_lettered, and by replay
    dead_lettered -> accepted. Ingest sets `accepted`, the worker the rest.
    """

    ACCEPTED = 0
    PROCESSING = 1
    RETRYING = 2
    PROCESSED = 3
    DEAD_LETTERED = 4


class DeliveryStatus(IntEnum):
    """How the deliveries of an event went, all together; derived from their states.

    Of each delivery only its present state counts: a replay makes it pending again.
    """

    #: No subscriber gets it, or it is not processed yet.
    NONE = 0
    #: Some are not decided yet, and none has failed.
    PENDING = 1
    #: Each one arrived.
    DELIVERED = 2
    #: Some have failed for good, others have not.
    PARTLY_FAILED = 3
    #: Each one has failed for good.
    FAILED = 4


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """A checked event on its way into the store, in the order of the store's columns.

    Built only by `headrace.domain.new_event`, so every field already satisfies the rules.
    `gc=False`: it has no cycles, and the collector would traverse thousands of them.
    """

    #: 63-bit position in the order of receipt, see `headrace.domain.ids`.
    sequence: int
    id: bytes
    project_id: int
    lane: int
    event: str
    #: As sent, canonical text.
    contact_id: str | None
    external_id: str | None
    #: Normalized.
    email: str | None
    #: As sent, when that differs from the normalized form.
    email_original: str | None
    idempotency_hash: bytes | None
    idempotency_key: str | None
    occurred_us: int
    received_us: int
    source: int
    #: Public id of the API key it came with; None for import and system events.
    api_key_id: str | None
    request_id: str | None
    #: JSON text of the payload object, exactly as sent.
    payload: str


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as read from the store."""

    sequence: int
    id: bytes
    project_id: int
    event: str
    #: Identifiers as sent.
    contact_id: str | None
    external_id: str | None
    email: str | None
    email_original: str | None
    idempotency_key: str | None
    occurred_us: int
    received_us: int
    source: int
    api_key_id: str | None
    request_id: str | None
    payload: str
    status: int
    #: Contact the event was resolved to, set by processing.
    resolved_contact_id: str | None
    attempts: int
    last_error: str | None
    #: A `DeliveryStatus`; read only where events are shown.
    delivery_status: int = DeliveryStatus.NONE


class FirstCopy(msgspec.Struct, frozen=True, gc=False):
    """The response to a repeated idempotency key: facts of the event stored first."""

    id: bytes
    event: str
    occurred_us: int
    #: Whether the content of the repeat differs from the first.
    mismatch: bool
