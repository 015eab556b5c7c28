"""Properties that an event writes: the members `$set` and `$set_once` of its payload.

`$set` is what is so since the event happened, `$set_once` what was so first. What cannot be a
property is left out with a reason; it never keeps the event from being processed.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headrace.domain.errors import echo
from headrace.domain.json_text import Number
from headrace.domain.members import kind_of
from headrace.domain.properties import (
    PROPERTIES_MAX,
    PropertyValue,
    check_value,
    name_problem,
)

SET = "$set"
SET_ONCE = "$set_once"
#: Stands in every payload that writes properties; the one look that all others cost.
MARK = '"$set'


class EventProperties(msgspec.Struct, frozen=True):
    """What an event writes."""

    #: None removes the property.
    sets: dict[str, PropertyValue | None]
    once: dict[str, PropertyValue | None]
    #: What was left out: member or `properties.<name>`, and why.
    ignored: list[tuple[str, str]]


def event_properties(payload: str) -> EventProperties | None:
    """What the payload of an event writes; None when it writes nothing.

    Args:
        payload: JSON text of an object, as it was accepted.
    """
    if MARK not in payload:
        return None
    members: dict[str, Any] = json.loads(payload, parse_int=Number, parse_float=Number)
    ignored: list[tuple[str, str]] = []
    sets = _checked(members.get(SET), SET, ignored)
    once = _checked(members.get(SET_ONCE), SET_ONCE, ignored)
    for name in [name for name, value in once.items() if value is None]:
        del once[name]
        ignored.append((f"properties.{echo(name)}", f"null in {SET_ONCE} says nothing"))
    if not (sets or once or ignored):
        return None
    return EventProperties(sets, once, ignored)


def _checked(
    sent: Any, member: str, ignored: list[tuple[str, str]]
) -> dict[str, PropertyValue | None]:
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        ignored.append((member, f"must be an object, got {kind_of(sent)}"))
        return {}
    if len(sent) > PROPERTIES_MAX:
        ignored.append((member, f"must have at most {PROPERTIES_MAX} members, got {len(sent)}"))
        return {}
    checked: dict[str, PropertyValue | None] = {}
    for name, value in sent.items():
        problem = name_problem(name)
        try:
            if problem is not None:
                raise ValueError(problem)
            checked[name] = None if value is None else check_value(value)
        except ValueError as error:
            ignored.append((f"properties.{echo(name)}", str(error)))
    return checked
