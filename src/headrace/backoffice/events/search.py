"""Search input turned into an event filter; invalid input is explained next to its field."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.backoffice.shell.forms import Fields
from headrace.domain.deliveries.subscriptions import check_filter
from headrace.domain.email import normalize_email
from headrace.domain.events.event import DeliveryStatus, Source, Status
from headrace.domain.events.fields import check_external_id
from headrace.domain.ids import UUID_TEXT, uuid_text
from headrace.store.contract.events import EventFilter

STATUSES = tuple(status.name.lower() for status in Status)
DELIVERY_STATUSES = tuple(status.name.lower() for status in DeliveryStatus)
SOURCES = tuple(source.name.lower() for source in Source)
FIELDS = ("event", "status", "delivery", "who", "source", "since", "until")


class EventSearch(msgspec.Struct, frozen=True):
    """A search as typed, and as the store takes it."""

    #: Form field -> text, to show in the form again.
    typed: dict[str, str]
    #: Form field -> error.
    problems: dict[str, str]
    wanted: EventFilter

    @property
    def narrows(self) -> bool:
        """Whether any field is set."""
        return any(self.typed.values())


def read_search(query: Fields) -> EventSearch:
    """Read the filter form of the event list."""
    typed = {name: query.exact(name) if name == "who" else query.text(name) for name in FIELDS}
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}

    def read(name: str, rule: Any) -> None:
        if typed[name]:
            try:
                values.update(rule(typed[name]))
            except ValueError as error:
                problems[name] = f"This {error}."

    read("event", lambda text: {"event": check_filter(text)})
    read("status", lambda text: {"status": _number(text, STATUSES, Status)})
    read(
        "delivery",
        lambda text: {"delivery_status": _number(text, DELIVERY_STATUSES, DeliveryStatus)},
    )
    read("source", lambda text: {"source": _number(text, SOURCES, Source)})
    read("who", _identity)
    read("since", lambda text: {"received_after_us": read_moment(text)})
    read("until", lambda text: {"received_before_us": read_moment(text)})
    return EventSearch(typed, problems, EventFilter(**values))


def read_uuid(text: str) -> bytes | None:
    """The 16 bytes of an id, None for any other text."""
    return uuid.UUID(text).bytes if UUID_TEXT.fullmatch(text) else None


def read_moment(text: str) -> int:
    """Microseconds of a `datetime-local` value, read as UTC.

    Raises:
        ValueError: it is not a date and time.
    """
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return int(at.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        message = "must be a date and time such as 2026-06-08T14:15"
        raise ValueError(message) from None


def _number(text: str, names: tuple[str, ...], kind: type[Status | Source | DeliveryStatus]) -> int:
    if text not in names:
        message = f"must be one of {', '.join(names)}"
        raise ValueError(message)
    return kind[text.upper()].value


def _identity(text: str) -> dict[str, str]:
    """A contact id, an e-mail address, or else an external id, which is matched exactly."""
    contact_id = read_uuid(text.strip())
    if contact_id is not None:
        return {"contact_id": uuid_text(contact_id)}
    if "@" in text:
        try:
            return {"email": normalize_email(text)}
        except ValueError:
            # Some projects use e-mail addresses as external ids.
            return {"external_id": check_external_id(text)}
    return {"external_id": check_external_id(text)}
