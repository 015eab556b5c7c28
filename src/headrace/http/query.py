"""Query parameters of the lists, from text to checked filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.domain import timestamps
from headrace.domain.email import normalize_email
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.event_fields import (
    check_contact_id,
    check_event_name,
    check_external_id,
)
from headrace.domain.events import Source, Status
from headrace.http.head import parse_query
from headrace.store.contract import EventFilter

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
PAGE = ("limit", "cursor")


def _number_of(names: dict[str, int]) -> Callable[[str], int]:
    def rule(text: str) -> int:
        if text not in names:
            message = f"must be one of {', '.join(names)}"
            raise ValueError(message)
        return names[text]

    return rule


STATUS_NAMES = {status.name.lower(): status.value for status in Status}
SOURCE_NAMES = {source.name.lower(): source.value for source in Source}


#: Parameter -> field of `EventFilter` and rule.
EVENT_FILTERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "event": ("event", check_event_name),
    "contact_id": ("contact_id", check_contact_id),
    "external_id": ("external_id", check_external_id),
    "email": ("email", normalize_email),
    "status": ("status", _number_of(STATUS_NAMES)),
    "source": ("source", _number_of(SOURCE_NAMES)),
    "occurred_after": ("occurred_after_us", timestamps.parse),
    "occurred_before": ("occurred_before_us", timestamps.parse),
    "received_after": ("received_after_us", timestamps.parse),
    "received_before": ("received_before_us", timestamps.parse),
}


def event_filter(query: dict[str, str]) -> EventFilter:
    """Build the filter of a list of events.

    Raises:
        ApiError: 422 with every problem.
    """
    values: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    for name, text in query.items():
        if name not in EVENT_FILTERS:
            continue
        field, rule = EVENT_FILTERS[name]
        try:
            values[field] = rule(text)
        except ValueError as error:
            problems.append(FieldProblem(name, str(error)))
    if problems:
        raise invalid(*problems)
    return EventFilter(**values)


def page_limit(query: dict[str, str]) -> int:
    """Read `limit`.

    Raises:
        ApiError: 422.
    """
    text = query.get("limit", str(LIMIT_DEFAULT))
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX:
        return int(text)
    raise invalid(FieldProblem("limit", f"must be a whole number from 1 to {LIMIT_MAX}"))


def read_flag(query: dict[str, str], name: str) -> bool:
    """A parameter that is true or false; false when absent.

    Raises:
        ApiError: 422.
    """
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise invalid(FieldProblem(name, "must be true or false"))
    return text == "true"


def list_query(query_string: bytes) -> dict[str, str]:
    """Parse the query of `GET /events`."""
    return parse_query(query_string, (*EVENT_FILTERS, *PAGE))
