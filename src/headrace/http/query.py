"""Filters of the list of events."""

from __future__ import annotations

from typing import Any

from headrace.domain.email import normalize_email
from headrace.domain.event_fields import check_event_name, check_external_id
from headrace.domain.events import Source, Status
from headrace.http.parameters import one_of, text, time, uuid
from headrace.http.schema import EMAIL, EVENT_NAME, EXTERNAL_ID
from headrace.store.contract import EventFilter

STATUS_NAMES = {status.name.lower(): status.value for status in Status}
SOURCE_NAMES = {source.name.lower(): source.value for source in Source}

EVENT_FILTERS = (
    text("event", check_event_name, **EVENT_NAME),
    uuid("contact_id"),
    text("external_id", check_external_id, **EXTERNAL_ID),
    text("email", normalize_email, **EMAIL),
    one_of("status", STATUS_NAMES),
    one_of("source", SOURCE_NAMES),
    time("occurred_after"),
    time("occurred_before"),
    time("received_after"),
    time("received_before"),
)
_TIMES = tuple(each.name for each in EVENT_FILTERS if each.schema.get("format") == "date-time")


def event_filter(query: dict[str, Any]) -> EventFilter:
    """The filter of checked parameters."""
    names = {each.name: each.name for each in EVENT_FILTERS}
    names |= {name: f"{name}_us" for name in _TIMES}
    return EventFilter(**{names[name]: value for name, value in query.items() if name in names})
