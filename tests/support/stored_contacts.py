"""Contacts written directly to a store, and its system events."""

from __future__ import annotations

import json
import uuid
from typing import Any

from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.events.identity import IdentityType, lane_of
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_rows import insert_many

#: Above every number that a store assigns.
NEWEST = 2**62


def create_contact(session: StoreSession, project_id: int = 1, **fields: Any) -> Contact:
    """One contact; `fields` are those of a write."""
    write = ContactWrite(**fields)
    return session.run(session.store.contacts.create(project_id, write, START_US, source="api"))


def system_events(session: StoreSession, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """`(name, payload)` of the system events with these names, in order of receipt."""
    rows = session.place.run_sql("SELECT event, payload FROM events ORDER BY sequence")
    return [(name, json.loads(payload)) for name, payload in rows if name.startswith(prefix)]


def fill_contacts(session: StoreSession, count: int, *, prefix: str, project_id: int = 1) -> None:
    """Insert many contacts directly: `prefix-1` and so on, with a plan `free`."""
    rows = [
        {
            "lane": lane_of(project_id, IdentityType.CONTACT_ID, contact_id),
            "id": contact_id,
            "number": NEWEST + number,
            "project_id": project_id,
            "external_id": f"{prefix}-{number}",
            "properties": '{"plan":"free"}',
            "created_us": START_US,
            "updated_us": START_US,
        }
        for number in range(1, count + 1)
        for contact_id in [str(uuid.uuid4())]
    ]
    insert_many(session.place, "contacts", rows)
    identifiers = [
        {
            "lane": lane_of(project_id, IdentityType.EXTERNAL_ID, str(row["external_id"])),
            "project_id": project_id,
            "kind": "external_id",
            "value": row["external_id"],
            "contact_id": row["id"],
        }
        for row in rows
    ]
    insert_many(session.place, "contact_identifiers", identifiers)
