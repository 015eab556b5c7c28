"""What ties a contact to audiences and topics on PostgreSQL, and what becomes of it."""

from __future__ import annotations

from headrace.domain.audiences import AUDIENCE_EXITED, audience_payload
from headrace.store.postgres.contact_refs import home_lane
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.system_events import insert_system_events
from headrace.store.rows.contact_refs import ContactRef

EXIT = "DELETE FROM audience_members WHERE lane = $1 AND contact_id = $2 RETURNING audience_id"
NAMES = "SELECT id, name FROM audiences WHERE id = ANY($1::text[]) ORDER BY id"
FORGET = tuple(
    f"DELETE FROM {table} WHERE lane = $1 AND contact_id = $2"  # noqa: S608
    for table in ("topic_subscriptions", "topic_opt_outs")
)


async def cut_ties(
    connection: Connection, numbers: Numbers, contact: ContactRef, now_us: int
) -> None:
    """Let a contact that is about to go exit from its audiences, and forget its subscriptions.

    After its row is locked for deletion, so that it can enter no audience meanwhile.
    """
    lane = home_lane(contact)
    left = [row[0] for row in await connection.fetch(EXIT, lane, contact.id)]
    names = await connection.fetch(NAMES, left) if left else []
    events = [
        contact.event(AUDIENCE_EXITED, audience_payload(audience_id, name, contact.id))
        for audience_id, name in names
    ]
    for statement in FORGET:
        await connection.execute(statement, lane, contact.id)
    await insert_system_events(connection, numbers, events, now_us)
