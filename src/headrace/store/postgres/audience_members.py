"""Who is in an audience, on PostgreSQL: each change with its events, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headrace.domain.audiences import AUDIENCE_ENTERED, AUDIENCE_EXITED, Audience, audience_payload
from headrace.store.postgres.columns import columns_of
from headrace.store.postgres.contact_refs import COLUMNS, home_lane
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.system_events import insert_system_events
from headrace.store.rows.contact_refs import ContactRef, ref

# Whoever is quicker has added the contact; it is told by nobody else.
ENTER = (
    "INSERT INTO audience_members (lane, contact_id, contact_number, audience_id, entered_us) "
    "SELECT n.*, $4, $5 FROM unnest($1::smallint[], $2::text[], $3::bigint[]) AS n "
    "ON CONFLICT DO NOTHING RETURNING contact_id"
)
LEAVE = (
    "DELETE FROM audience_members WHERE lane = $1 AND contact_id = $2 AND audience_id = $3 "
    "RETURNING contact_id"
)
FIRST = (
    f"SELECT {COLUMNS} FROM (SELECT lane, contact_id, contact_number FROM audience_members "  # noqa: S608
    "WHERE audience_id = $1 ORDER BY contact_number LIMIT $2) m "
    "JOIN contacts c ON c.lane = m.lane AND c.id = m.contact_id ORDER BY c.number"
)
REMOVE = (
    "DELETE FROM audience_members m USING unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "WHERE m.lane = k.lane AND m.contact_id = k.id AND m.audience_id = $3 RETURNING m.contact_id"
)


async def enter(
    connection: Connection,
    numbers: Numbers,
    held: Audience,
    contacts: Sequence[ContactRef],
    now_us: int,
) -> int:
    """Add those contacts, each given once, that are not in it; returns how many."""
    rows = sorted((home_lane(each), each.id, each.number) for each in contacts)
    entered = {
        row[0] for row in await connection.fetch(ENTER, *columns_of(rows, 3), held.id, now_us)
    }
    new = [contact for contact in contacts if contact.id in entered]
    await _emit(connection, numbers, AUDIENCE_ENTERED, held, new, now_us)
    return len(new)


async def leave(
    connection: Connection, numbers: Numbers, held: Audience, contact: ContactRef, now_us: int
) -> bool:
    """Take a contact out; whether it was in it."""
    gone = await connection.fetchval(LEAVE, home_lane(contact), contact.id, held.id)
    if gone is None:
        return False
    await _emit(connection, numbers, AUDIENCE_EXITED, held, [contact], now_us)
    return True


async def empty(
    connection: Connection, numbers: Numbers, held: Audience, limit: int, now_us: int
) -> int:
    """Take up to `limit` contacts out; returns how many were found.

    One that is deleted meanwhile is taken out and told by whoever deletes it.
    """
    contacts = [ref(row) for row in await connection.fetch(FIRST, held.id, limit)]
    keys = sorted((home_lane(each), each.id) for each in contacts)
    gone = {row[0] for row in await connection.fetch(REMOVE, *columns_of(keys, 2), held.id)}
    left = [contact for contact in contacts if contact.id in gone]
    await _emit(connection, numbers, AUDIENCE_EXITED, held, left, now_us)
    return len(contacts)


async def _emit(
    connection: Connection,
    numbers: Numbers,
    name: str,
    held: Audience,
    contacts: Iterable[ContactRef],
    now_us: int,
) -> None:
    events = [
        contact.event(name, audience_payload(held.id, held.name, contact.id))
        for contact in contacts
    ]
    await insert_system_events(connection, numbers, events, now_us)
