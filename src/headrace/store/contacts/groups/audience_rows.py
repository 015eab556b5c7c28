"""Audiences from and to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.contacts.audiences import Audience, AudienceFields

COLUMNS = "id, project_id, name, description, created_us, updated_us"


def audience(row: Sequence[Any]) -> Audience:
    """An audience from `COLUMNS`."""
    audience_id, project_id, name, description, created_us, updated_us = row
    return Audience(
        id=audience_id,
        project_id=project_id,
        name=name,
        description=description,
        created_us=created_us,
        updated_us=updated_us,
    )


def changed(held: Audience, fields: AudienceFields) -> dict[str, Any]:
    """Column -> new value, of what a write changes."""
    wanted = {"name": fields.name, "description": fields.description}
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and value != getattr(held, name)
    }
