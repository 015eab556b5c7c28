"""Contacts by id, as much of them as what belongs to them needs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import apsw

from headrace.store.rows.contact_refs import ContactRef, ref

_FIND = (
    "SELECT c.number, c.id, c.project_id, c.external_id, c.email FROM json_each(?2) j "
    "CROSS JOIN contacts c ON c.id = j.value WHERE c.project_id = ?1"
)
# Ids of contacts that were merged into others.
_FOLLOW = (
    "SELECT c.number, c.id, c.project_id, c.external_id, c.email, j.value FROM json_each(?2) j "
    "CROSS JOIN contact_aliases a ON a.project_id = ?1 AND a.kind = 'contact_id' "
    "AND a.value = j.value CROSS JOIN contacts c ON c.id = a.contact_id WHERE c.project_id = ?1"
)

IDS = "SELECT value FROM contact_aliases WHERE contact_id = ? AND kind = 'contact_id'"


def find_refs(
    connection: apsw.Connection, project_id: int, contact_ids: Iterable[str]
) -> dict[str, ContactRef]:
    """Those of the contacts that are there, by the id that was asked for."""
    wanted = list(contact_ids)
    rows: Any = connection.execute(_FIND, (project_id, json.dumps(wanted)))
    found = {row[1]: ref(row) for row in rows}
    missing = [contact_id for contact_id in wanted if contact_id not in found]
    if missing:
        rows = connection.execute(_FOLLOW, (project_id, json.dumps(missing)))
        found |= {row[5]: ref(row[:5]) for row in rows}
    return found


def find_ref(connection: apsw.Connection, project_id: int, contact_id: str) -> ContactRef | None:
    """One contact, None when the project has no such contact."""
    return find_refs(connection, project_id, (contact_id,)).get(contact_id)


def ids_of(connection: apsw.Connection, contact_id: str) -> list[str]:
    """The id of a contact, and those of contacts that were merged into it."""
    rows: Any = connection.execute(IDS, (contact_id,))
    return [contact_id, *(row[0] for row in rows)]
