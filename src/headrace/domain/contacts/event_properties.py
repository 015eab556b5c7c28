"""Properties that an event writes: the members `$set` and `$set_once` of its payload.

`$set` holds values since the event happened, `$set_once` first values. A value that cannot be a
property is left out with a reason; it never fails the event.

The name `email` stands for the address of the contact and is never a property.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headrace.domain.contacts.properties import (
    PROPERTIES_MAX,
    PropertyValue,
    check_value,
    name_problem,
)
from headrace.domain.email import normalize_email
from headrace.domain.errors import as_written
from headrace.domain.json_fields import kind_of, text_problem
from headrace.domain.json_text import Number

SET = "$set"
SET_ONCE = "$set_once"
#: Occurs in every payload that writes properties; the only check that other payloads cost.
MARK = '"$set'


#: Name of the contact's address.
EMAIL = "email"


class AddressWrite(msgspec.Struct, frozen=True):
    """A change of the contact's address by an event."""

    #: Normalized; None clears.
    email: str | None
    #: As given, where that differs.
    original: str | None
    #: Member and name, such as `$set.email`.
    field: str
    #: Whether it only fills an empty field.
    once: bool


class EventProperties(msgspec.Struct, frozen=True):
    """The changes by an event."""

    #: None removes the property.
    sets: dict[str, PropertyValue | None]
    once: dict[str, PropertyValue | None]
    #: At most one by `$set` and one by `$set_once`, in this order.
    addresses: list[AddressWrite]
    #: What was left out: member or `properties.<name>`, and why.
    ignored: list[tuple[str, str]]


def event_properties(payload: str) -> EventProperties | None:
    """The changes in an event's payload; None when it writes nothing.

    Args:
        payload: JSON text of an object, as it was accepted.
    """
    if MARK not in payload:
        return None
    members: dict[str, Any] = json.loads(payload, parse_int=Number, parse_float=Number)
    ignored: list[tuple[str, str]] = []
    addresses: list[AddressWrite] = []
    sets = _checked(members.get(SET), SET, addresses, ignored)
    once = _checked(members.get(SET_ONCE), SET_ONCE, addresses, ignored)
    for name in [name for name, value in once.items() if value is None]:
        del once[name]
        ignored.append((f"properties.{as_written(name)}", f"null in {SET_ONCE} has no effect"))
    if not (sets or once or addresses or ignored):
        return None
    return EventProperties(sets, once, addresses, ignored)


def addresses_written(payload: str) -> list[str]:
    """Normalized addresses that the payload of an event gives its contact."""
    if MARK not in payload or (EMAIL not in payload and "\\u" not in payload):
        return []
    wanted = event_properties(payload)
    found = () if wanted is None else wanted.addresses
    return [each.email for each in found if each.email is not None]


def _checked(
    sent: Any, member: str, addresses: list[AddressWrite], ignored: list[tuple[str, str]]
) -> dict[str, PropertyValue | None]:
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        ignored.append((member, f"must be an object, got {kind_of(sent)}"))
        return {}
    if len(sent) > PROPERTIES_MAX:
        ignored.append((member, f"must have at most {PROPERTIES_MAX} keys, got {len(sent)}"))
        return {}
    checked: dict[str, PropertyValue | None] = {}
    for name, value in sent.items():
        if name == EMAIL:
            _check_address(value, member, addresses, ignored)
            continue
        problem = name_problem(name)
        try:
            if problem is not None:
                raise ValueError(problem)
            checked[name] = None if value is None else check_value(value)
        except ValueError as error:
            ignored.append((f"properties.{as_written(name)}", str(error)))
    return checked


def _check_address(
    sent: Any, member: str, addresses: list[AddressWrite], ignored: list[tuple[str, str]]
) -> None:
    field = f"{member}.{EMAIL}"
    if sent is None and member == SET_ONCE:
        ignored.append((field, f"null in {SET_ONCE} has no effect"))
        return
    try:
        problem = None if sent is None else text_problem(sent)
        if problem is not None:
            raise ValueError(problem)
        email = None if sent is None else normalize_email(sent)
    except ValueError as error:
        # The text after the colon may quote the address, which must not be stored.
        ignored.append((field, str(error).partition(":")[0]))
        return
    original = None if sent == email else sent
    addresses.append(AddressWrite(email, original, field, member == SET_ONCE))
