"""Merging two contacts, and undoing a merge. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.contacts.contact import IDENTIFIERS, Contact, differences
from headrace.domain.contacts.properties import size_problem
from headrace.domain.contacts.property_times import Values, join
from headrace.domain.errors import FieldProblem, invalid

#: Source in the system events of a merge and of its undoing.
MERGE_SOURCE = "merge"
UNDO_SOURCE = "undo"


class Merged(msgspec.Struct, frozen=True):
    """The survivor after a merge."""

    contact: Contact
    #: `(kind, value)` of the other contact that lead to the survivor without being its own.
    aliases: tuple[tuple[str, str], ...]


def merged(own: Contact, other: Contact, now_us: int) -> Merged:
    """Merge `other` into `own`, which keeps its identifiers; of each property the newer value wins.

    Raises:
        ApiError: 422 when the properties of both are too much for one.
    """
    values = join(own.values, other.values)
    problem = size_problem(values.properties)
    if problem is not None:
        raise invalid(FieldProblem("properties", problem))
    after = msgspec.structs.replace(own, properties=values.properties, property_times=values.times)
    aliases = [("contact_id", other.id)]
    for field in IDENTIFIERS:
        value = getattr(other, field)
        if value is None:
            continue
        if getattr(own, field) is None:
            after = _taking(after, field, other)
        else:
            aliases.append((field, value))
    if differences(own, after):
        after = msgspec.structs.replace(after, updated_us=max(now_us, own.updated_us))
    return Merged(after, tuple(aliases))


def separated(current: Contact, before: Contact, after: Contact, other: Contact) -> Contact:
    """The survivor without what it got from a merge; later changes stay.

    Args:
        current: the survivor as it is.
        before: as it was before the merge.
        after: as it was right after it.
        other: the contact that was merged into it.
    """
    without = current
    for field in IDENTIFIERS:
        value = getattr(current, field)
        untouched = (value, current.since_us(field)) == (
            getattr(after, field),
            after.since_us(field),
        )
        # The other gets its identifiers back, even if the survivor has adopted them since.
        if untouched or (value is not None and value == getattr(other, field)):
            without = _taking(without, field, before)
    values = _values_before(current.values, before.values, after.values)
    without = msgspec.structs.replace(
        without, properties=values.properties, property_times=values.times
    )
    exact = msgspec.structs.replace(without, updated_us=before.updated_us)
    return exact if exact == before else without


def _taking(contact: Contact, field: str, source: Contact) -> Contact:
    names = [field, f"{field}_us"] + (["email_original"] if field == "email" else [])
    taken: dict[str, Any] = {name: getattr(source, name) for name in names}
    taken[f"{field}_us"] = (
        source.since_us(field) if source.id != contact.id else taken[f"{field}_us"]
    )
    return msgspec.structs.replace(contact, **taken)


def _values_before(current: Values, before: Values, after: Values) -> Values:
    properties, times = dict(current.properties), dict(current.times)
    names = dict.fromkeys((*after.properties, *after.times, *before.properties, *before.times))
    for name in names:
        if _of(current, name) != _of(after, name):
            continue
        properties.pop(name, None)
        times.pop(name, None)
        if name in before.properties:
            properties[name] = before.properties[name]
        if name in before.times:
            times[name] = before.times[name]
    order = [*before.properties, *properties]
    return Values(
        {name: properties[name] for name in dict.fromkeys(order) if name in properties}, times
    )


def _of(values: Values, name: str) -> tuple[Any, Any]:
    return values.properties.get(name), values.times.get(name)
