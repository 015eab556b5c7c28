"""Ids that lead to a contact."""

from __future__ import annotations

from typing import Any

import apsw

IDS = "SELECT value FROM contact_aliases WHERE contact_id = ? AND kind = 'contact_id'"


def ids_of(connection: apsw.Connection, contact_id: str) -> list[str]:
    """The id of a contact, and those of contacts that were merged into it."""
    rows: Any = connection.execute(IDS, (contact_id,))
    return [contact_id, *(row[0] for row in rows)]
