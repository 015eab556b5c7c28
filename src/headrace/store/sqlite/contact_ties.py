"""What ties a contact to audiences and topics, and what becomes of it with the contact."""

from __future__ import annotations

from typing import Any

import apsw

from headrace.domain.audiences import AUDIENCE_EXITED, audience_payload
from headrace.store.rows.contact_refs import ContactRef
from headrace.store.sqlite.system_events import insert_system_events

AUDIENCES = (
    "SELECT a.id, a.name FROM audience_members m CROSS JOIN audiences a ON a.id = m.audience_id "
    "WHERE m.contact_number = ? ORDER BY m.audience_id"
)
REMOVE = tuple(
    f"DELETE FROM {table} WHERE contact_number = ?"  # noqa: S608
    for table in ("audience_members", "topic_subscriptions", "topic_opt_outs")
)


def cut_ties(connection: apsw.Connection, contact: ContactRef, now_us: int) -> None:
    """Let a contact that is about to go exit from its audiences, and forget its subscriptions.

    Must be in the transaction that deletes it: the next contact may be given the same number.
    """
    rows: Any = connection.execute(AUDIENCES, (contact.number,)).fetchall()
    events = [
        contact.event(AUDIENCE_EXITED, audience_payload(audience_id, name, contact.id))
        for audience_id, name in rows
    ]
    for statement in REMOVE:
        connection.execute(statement, (contact.number,))
    insert_system_events(connection, events, now_us)
