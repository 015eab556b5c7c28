"""The columns of contacts, and conversion from and to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.contacts.contact import Contact
from headrace.domain.contacts.property_times import Values, read_values

COLUMNS = (
    "id, project_id, external_id, email, email_original, properties, created_us, updated_us, "
    "external_id_us, email_us, property_times"
)
#: Of those, the ones that a write may change.
WRITTEN = (
    "external_id",
    "email",
    "email_original",
    "properties",
    "updated_us",
    "external_id_us",
    "email_us",
    "property_times",
)


def contact(row: Sequence[Any]) -> Contact:
    """The contact of a row of `COLUMNS`."""
    contact_id, project_id, external_id, email, original, properties, *times = row
    created_us, updated_us, external_id_us, email_us, property_times = times
    values = read_values(properties, property_times)
    return Contact(
        id=contact_id,
        project_id=project_id,
        external_id=external_id,
        email=email,
        email_original=original,
        properties=values.properties,
        created_us=created_us,
        updated_us=updated_us,
        external_id_us=external_id_us,
        email_us=email_us,
        property_times=values.times,
    )


def row(held: Contact) -> tuple[Any, ...]:
    """The row of `COLUMNS` of a contact."""
    values = held.values
    return (
        held.id,
        held.project_id,
        held.external_id,
        held.email,
        held.email_original,
        values.properties_text(),
        held.created_us,
        held.updated_us,
        held.external_id_us,
        held.email_us,
        values.times_text(),
    )


def written(held: Contact) -> tuple[Any, ...]:
    """The columns of `WRITTEN` of a contact."""
    columns = dict(zip(COLUMNS.split(", "), row(held), strict=True))
    return tuple(columns[name] for name in WRITTEN)


def values_or_none(properties: str | None, times: str | None) -> Values | None:
    """Properties that may not have been read."""
    return None if properties is None or times is None else read_values(properties, times)
