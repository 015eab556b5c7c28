"""Who is in an audience, each change with its events; each runs inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.audiences import AUDIENCE_ENTERED, AUDIENCE_EXITED, Audience, audience_payload
from headrace.store.rows.contact_refs import ContactRef, ref
from headrace.store.sqlite.bulk import BulkInsert
from headrace.store.sqlite.system_events import insert_system_events

INSIDE = (
    "SELECT m.contact_number FROM json_each(?2) j "
    "CROSS JOIN audience_members m ON m.audience_id = ?1 AND m.contact_number = j.value"
)
LEAVE = "DELETE FROM audience_members WHERE audience_id = ? AND contact_number = ?"
FIRST = (
    "SELECT c.number, c.id, c.project_id, c.external_id, c.email FROM audience_members m "
    "CROSS JOIN contacts c ON c.number = m.contact_number WHERE m.audience_id = ? "
    "ORDER BY m.contact_number LIMIT ?"
)
REMOVE_UP_TO = "DELETE FROM audience_members WHERE audience_id = ? AND contact_number <= ?"
_ENTER = BulkInsert("INSERT INTO audience_members (audience_id, contact_number, entered_us)", 3)


def enter(
    connection: apsw.Connection, held: Audience, contacts: Sequence[ContactRef], now_us: int
) -> int:
    """Add those contacts, each given once, that are not in it; returns how many."""
    numbers = json.dumps([contact.number for contact in contacts])
    inside = {row[0] for row in connection.execute(INSIDE, (held.id, numbers))}
    new = [contact for contact in contacts if contact.number not in inside]
    _ENTER.run(connection, [(held.id, contact.number, now_us) for contact in new])
    _emit(connection, AUDIENCE_ENTERED, held, new, now_us)
    return len(new)


def leave(connection: apsw.Connection, held: Audience, contact: ContactRef, now_us: int) -> bool:
    """Take a contact out; whether it was in it."""
    connection.execute(LEAVE, (held.id, contact.number))
    if not connection.changes():
        return False
    _emit(connection, AUDIENCE_EXITED, held, [contact], now_us)
    return True


def empty(connection: apsw.Connection, held: Audience, limit: int, now_us: int) -> int:
    """Take up to `limit` contacts out; returns how many it were."""
    rows: list[Any] = connection.execute(FIRST, (held.id, limit)).fetchall()
    if rows:
        connection.execute(REMOVE_UP_TO, (held.id, rows[-1][0]))
        _emit(connection, AUDIENCE_EXITED, held, [ref(row) for row in rows], now_us)
    return len(rows)


def _emit(
    connection: apsw.Connection,
    name: str,
    held: Audience,
    contacts: Sequence[ContactRef],
    now_us: int,
) -> None:
    events = [
        contact.event(name, audience_payload(held.id, held.name, contact.id))
        for contact in contacts
    ]
    insert_system_events(connection, events, now_us)
