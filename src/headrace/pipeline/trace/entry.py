"""What a trace consists of: a closed list of happenings, each with one sentence in plain words."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from headrace.domain.deliveries.attempt_requests import AttemptRequest

StatusName = Literal["accepted", "processing", "retrying", "processed", "dead_lettered"]


class EntryType(StrEnum):
    """Everything that can happen to an event."""

    RECEIVED = "received"
    KEY_REPEATED = "key_repeated"
    PROCESSING_STARTED = "processing_started"
    PROCESSING_FAILED = "processing_failed"
    #: Which contact the event is about, and why.
    IDENTITY_RESOLVED = "identity_resolved"
    CONTACT_CREATED = "contact_created"
    CONTACT_FILLED = "contact_filled"
    #: An identifier of the contact was changed or cleared.
    CONTACT_CHANGED = "contact_changed"
    IDENTITY_CONFLICT = "identity_conflict"
    #: A placeholder identifier was ignored.
    PLACEHOLDER_IGNORED = "placeholder_ignored"
    PROPERTIES_WRITTEN = "properties_written"
    #: A field kept its value, which is newer.
    VALUE_KEPT = "value_kept"
    #: A member of the payload that was to write a property cannot be one.
    PROPERTY_IGNORED = "property_ignored"
    #: The subscriber wanted the event, so there is a delivery.
    SUBSCRIBER_MATCHED = "subscriber_matched"
    SUBSCRIBER_SKIPPED = "subscriber_skipped"
    PROCESSED = "processed"
    DELIVERY_FAILED = "delivery_failed"
    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    REPLAYED = "replayed"
    #: Queued again on request, after it was delivered or for a webhook made later.
    RESENT = "resent"
    DISCARDED = "discarded"
    #: Last of a trace that is longer than what is shown.
    CUT = "cut"


class TraceEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One happening. A field is there when it says something about this type of happening."""

    at: str
    type: EntryType
    #: One sentence for people.
    text: str
    #: Status of the event from here on.
    status: StatusName | None = None
    attempt: int | None = None
    duration_ms: float | None = None
    cause: str | None = None
    error: str | None = None
    next_attempt_at: str | None = None
    api_key: str | None = None
    request_id: str | None = None
    source: str | None = None
    #: Whether a repeat of the key had another content.
    mismatch: bool | None = None
    #: Identifier that decided, or that is in conflict.
    field: str | None = None
    contact_id: str | None = None
    other_contact_id: str | None = None
    #: Since when a field has the value that it kept.
    since: str | None = None
    subscriber_id: str | None = None
    delivery_id: str | None = None
    delivery_status: str | None = None
    http_status: int | None = None
    #: First bytes of a webhook's response.
    excerpt: str | None = None
    #: Request of a webhook, and the first headers of its response.
    request: AttemptRequest | None = None
    response_headers: dict[str, str] | None = None
    #: What could not be read of the response of a webhook that accepted the event.
    note: str | None = None
    dead_letter_id: str | None = None
    #: Run of an automation that failed or is retried.
    run_id: str | None = None
    #: Who replayed or discarded: public id of an API key, or an operator.
    actor: str | None = None
    reason: str | None = None
    #: Subscribers that the entry is about, where it is about several.
    count: int | None = None


class Moment(msgspec.Struct, frozen=True):
    """An entry with what it is ordered and chosen by."""

    at_us: int
    entry: TraceEntry
    #: 0: never left out while others can be; the larger, the sooner left out.
    detail: int = 0


def duration_ms(duration_us: int) -> float:
    """Milliseconds as they are shown."""
    return round(duration_us / 1000, 1)


def duration_text(duration_us: int) -> str:
    """`12.3 ms`, or seconds when there are many."""
    if duration_us >= 10_000_000:
        return f"{duration_us / 1_000_000:.1f} s"
    return f"{duration_ms(duration_us):g} ms"


def sentence(text: str) -> str:
    """The text as the end of a sentence, whatever it ended with."""
    return text.rstrip(". ") + "."
