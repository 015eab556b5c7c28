"""Filters of the list of events."""

from __future__ import annotations

from typing import Any

from headrace.domain.deliveries.subscriptions import check_filter
from headrace.domain.email import normalize_email
from headrace.domain.events.event import Source, Status
from headrace.domain.events.fields import check_external_id
from headrace.http.routing.parameters import one_of, text, time, uuid
from headrace.http.routing.schema import EMAIL, EVENT_PATTERN, EXTERNAL_ID
from headrace.store.contract.events import EventFilter

STATUS_NAMES = {status.name.lower(): status.value for status in Status}
SOURCE_NAMES = {source.name.lower(): source.value for source in Source}

EVENT_FILTERS = (
    text(
        "event",
        check_filter,
        "Name of the event, or the beginning of names: `order.*`. System events included.",
        **EVENT_PATTERN,
    ),
    uuid(
        "contact_id",
        "Events that were resolved to this contact or to one that was merged into it, whatever "
        "they were sent with. What was sent with the id and is resolved to nobody, or not yet, is "
        "among them.",
    ),
    text("external_id", check_external_id, "Sent with this external_id.", **EXTERNAL_ID),
    text("email", normalize_email, "Sent with this email, in any case.", **EMAIL),
    one_of("status", STATUS_NAMES, "How far processing is."),
    one_of("source", SOURCE_NAMES, "How it came."),
    time("occurred_after", "Occurred at this time or later."),
    time("occurred_before", "Occurred before this time."),
    time("received_after", "Received at this time or later."),
    time("received_before", "Received before this time."),
)
_TIMES = tuple(each.name for each in EVENT_FILTERS if each.schema.get("format") == "date-time")


def event_filter(query: dict[str, Any]) -> EventFilter:
    """The filter of checked parameters."""
    names = {each.name: each.name for each in EVENT_FILTERS}
    names |= {name: f"{name}_us" for name in _TIMES}
    return EventFilter(**{names[name]: value for name, value in query.items() if name in names})
