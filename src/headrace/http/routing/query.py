"""Filters of the list of events."""

from __future__ import annotations

from typing import Any

from headrace.domain.deliveries.subscriptions import check_filter
from headrace.domain.email import normalize_email
from headrace.domain.events.event import DeliveryStatus, Source, Status
from headrace.domain.events.fields import check_external_id
from headrace.http.routing.parameters import one_of, text, time, uuid
from headrace.http.routing.schema import EMAIL, EVENT_PATTERN, EXTERNAL_ID
from headrace.store.contract.events import EventFilter

STATUS_NAMES = {status.name.lower(): status.value for status in Status}
DELIVERY_STATUS_NAMES = {status.name.lower(): status.value for status in DeliveryStatus}
SOURCE_NAMES = {source.name.lower(): source.value for source in Source}

EVENT_FILTERS = (
    text(
        "event",
        check_filter,
        "Name of the event or a prefix: `order.*`. System events are included.",
        **EVENT_PATTERN,
    ),
    uuid(
        "contact_id",
        "Events that were resolved to this contact or to one that was merged into it, whatever "
        "identifier they were sent with. Includes events sent with this id that are not resolved.",
    ),
    text("external_id", check_external_id, "Sent with this external_id.", **EXTERNAL_ID),
    text("email", normalize_email, "Sent with this email, in any case.", **EMAIL),
    one_of("status", STATUS_NAMES, "Processing status."),
    one_of(
        "delivery_status",
        DELIVERY_STATUS_NAMES,
        "How its deliveries went: `none`: there are none; `pending`: some are undecided and none "
        "has failed; `delivered`: all; `partly_failed`, `failed`: some or all are dead letters.",
    ),
    one_of("source", SOURCE_NAMES, "How the event was received."),
    time("occurred_after", "Occurred at or after this time."),
    time("occurred_before", "Occurred before this time."),
    time("received_after", "Received at or after this time."),
    time("received_before", "Received before this time."),
)
_TIMES = tuple(each.name for each in EVENT_FILTERS if each.schema.get("format") == "date-time")


def event_filter(query: dict[str, Any]) -> EventFilter:
    """The filter of checked parameters."""
    names = {each.name: each.name for each in EVENT_FILTERS}
    names |= {name: f"{name}_us" for name in _TIMES}
    return EventFilter(**{names[name]: value for name, value in query.items() if name in names})
