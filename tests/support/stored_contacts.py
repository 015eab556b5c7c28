"""Contacts written straight into a store, and the system events that it has written."""

from __future__ import annotations

import json
from typing import Any

from headrace.domain.contacts import Contact, ContactWrite
from tests.store.events import START_US
from tests.store.session import StoreSession


def create_contact(session: StoreSession, project_id: int = 1, **fields: Any) -> Contact:
    """One contact; `fields` are those of a write."""
    write = ContactWrite(**fields)
    return session.run(session.store.contacts.create(project_id, write, START_US, source="api"))


def system_events(session: StoreSession, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """`(name, payload)` of the system events with such names, in the order of receipt."""
    rows = session.place.run_sql("SELECT event, payload FROM events ORDER BY sequence")
    return [(name, json.loads(payload)) for name, payload in rows if name.startswith(prefix)]


def fill_contacts(session: StoreSession, count: int, *, prefix: str, project_id: int = 1) -> None:
    """Very many contacts at once, past the store: `prefix-1` and so on, with a plan `free`."""
    session.place.fill_contacts(project_id, count, prefix)
