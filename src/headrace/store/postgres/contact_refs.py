"""Contacts by id on PostgreSQL, as much of them as what belongs to them needs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from headrace.domain.identity import IdentityType
from headrace.store.postgres.columns import columns_of
from headrace.store.postgres.contact_lookup import contact_lane
from headrace.store.postgres.database import Connection
from headrace.store.rows.contact_refs import ContactRef, ref

COLUMNS = "c.number, c.id, c.project_id, c.external_id, c.email"
FIND = (
    f"SELECT {COLUMNS} FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "  # noqa: S608
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.id WHERE c.project_id = $3"
)
# One lane at a time: a cluster locks no rows on several of its nodes in one statement.
HOLD = (
    f"SELECT {COLUMNS} FROM contacts c WHERE c.lane = $1 AND c.id = ANY($2::text[]) "  # noqa: S608
    "AND c.project_id = $3 ORDER BY c.id FOR KEY SHARE"
)
CHANGE = HOLD.replace("FOR KEY SHARE", "FOR NO KEY UPDATE")
# Ids of contacts that were merged into others.
FOLLOW = (
    "SELECT i.value, i.contact_id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "  # noqa: S608
    "JOIN contact_identifiers i ON i.lane = k.lane AND i.value = k.id WHERE i.project_id = $3 "
    f"AND i.kind = '{IdentityType.CONTACT_ID}'"
)


def home_lane(contact: ContactRef) -> int:
    """Lane of all rows that belong to a contact."""
    return contact_lane(contact.project_id, contact.id)


async def find_ref(connection: Connection, project_id: int, contact_id: str) -> ContactRef | None:
    """One contact, None when the project has no such contact."""
    real = await _follow(connection, project_id, (contact_id,))
    keys = _keys(project_id, real.values())
    row = await connection.fetchrow(FIND, *columns_of(keys, 2), project_id)
    return None if row is None else ref(row)


async def change_ref(connection: Connection, project_id: int, contact_id: str) -> ContactRef | None:
    """One contact, that nobody else changes until the end of the transaction."""
    real = await _follow(connection, project_id, (contact_id,))
    ((lane, own_id),) = _keys(project_id, real.values())
    row = await connection.fetchrow(CHANGE, lane, [own_id], project_id)
    return None if row is None else ref(row)


async def hold_refs(
    connection: Connection, project_id: int, contact_ids: Iterable[str]
) -> dict[str, ContactRef]:
    """Those of the contacts that are there, and stay until the end of the transaction.

    Returns:
        By the id that was asked for.
    """
    real = await _follow(connection, project_id, contact_ids)
    held: dict[str, ContactRef] = {}
    by_lane = groupby(_keys(project_id, real.values()), key=lambda key: key[0])
    for lane, keys in by_lane:
        rows = await connection.fetch(HOLD, lane, [own_id for _, own_id in keys], project_id)
        held |= {row[1]: ref(row) for row in rows}
    return {asked: held[own_id] for asked, own_id in real.items() if own_id in held}


def _keys(project_id: int, contact_ids: Iterable[str]) -> list[tuple[int, str]]:
    """`(lane, id)` of contacts, in the one order in which all lock them."""
    return sorted({(contact_lane(project_id, each), each) for each in contact_ids})


async def _follow(
    connection: Connection, project_id: int, contact_ids: Iterable[str]
) -> dict[str, str]:
    """Each id that is asked for, and the id of whom it leads to."""
    wanted = list(contact_ids)
    keys = columns_of(_keys(project_id, wanted), 2)
    merged = dict(await connection.fetch(FOLLOW, *keys, project_id))
    return {asked: merged.get(asked, asked) for asked in wanted}
