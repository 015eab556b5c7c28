"""Changes members of audiences, with their events; in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headrace.domain.contacts.audiences import (
    AUDIENCE_ENTERED,
    AUDIENCE_EXITED,
    Audience,
    audience_payload,
)
from headrace.store.contacts.refs import COLUMNS, ContactRef, ref
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction

# If two transactions add a contact at once, only the one that inserted the row emits the event.
ENTER = sql(
    "INSERT INTO audience_members (lane, contact_id, contact_number, audience_id, entered_us) "
    "SELECT n.lane, n.id, n.number, $4, $5 "
    "FROM unnest($1::smallint[], $2::text[], $3::bigint[]) AS n (lane, id, number) WHERE true "
    "ON CONFLICT DO NOTHING RETURNING contact_id"
)
LEAVE = sql("DELETE FROM audience_members WHERE lane = $1 AND contact_id = $2 AND audience_id = $3")
FIRST = sql(
    f"SELECT {COLUMNS} FROM (SELECT lane, contact_id, contact_number FROM audience_members "
    "WHERE audience_id = $1 ORDER BY contact_number LIMIT $2) k "
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.contact_id"
)
REMOVE = sql(
    "DELETE FROM audience_members WHERE audience_id = $3 AND (lane, contact_id) IN "
    "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id)) "
    "RETURNING contact_id"
)


async def enter(
    tx: Transaction,
    system_events: SystemEvents,
    held: Audience,
    contacts: Sequence[ContactRef],
    now_us: int,
) -> int:
    """Add the contacts that are not members yet, each given once; returns how many."""
    rows = sorted((each.home_lane, each.id, each.number) for each in contacts)
    entered = {row[0] for row in await tx.rows(ENTER, *columns_of(rows, 3), held.id, now_us)}
    new = [contact for contact in contacts if contact.id in entered]
    await _emit(tx, system_events, AUDIENCE_ENTERED, held, new, now_us)
    return len(new)


async def leave(
    tx: Transaction, system_events: SystemEvents, held: Audience, contact: ContactRef, now_us: int
) -> bool:
    """Remove a contact; returns whether it was a member."""
    if not await tx.run(LEAVE, contact.home_lane, contact.id, held.id):
        return False
    await _emit(tx, system_events, AUDIENCE_EXITED, held, [contact], now_us)
    return True


async def empty(
    tx: Transaction, system_events: SystemEvents, held: Audience, limit: int, now_us: int
) -> int:
    """Remove up to `limit` contacts; returns how many were found.

    A contact that is deleted concurrently is removed by its deletion, which also emits the event.
    """
    contacts = [ref(row) for row in await tx.rows(FIRST, held.id, limit)]
    contacts.sort(key=lambda each: each.number)
    keys = sorted((each.home_lane, each.id) for each in contacts)
    removed = {row[0] for row in await tx.rows(REMOVE, *columns_of(keys, 2), held.id)}
    left = [contact for contact in contacts if contact.id in removed]
    await _emit(tx, system_events, AUDIENCE_EXITED, held, left, now_us)
    return len(contacts)


async def _emit(
    tx: Transaction,
    system_events: SystemEvents,
    name: str,
    held: Audience,
    contacts: Iterable[ContactRef],
    now_us: int,
) -> None:
    events = [
        contact.event(name, audience_payload(held.id, held.name, contact.id))
        for contact in contacts
    ]
    await system_events.insert(tx, events, now_us)
