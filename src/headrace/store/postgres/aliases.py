"""Identifiers that lead to a contact without being its own, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.domain.contacts import IDENTIFIERS, Contact
from headrace.domain.identity import IdentityType
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.contact_lookup import identifier
from headrace.store.postgres.database import Connection

OF = "SELECT kind, value FROM contact_identifiers WHERE contact_id = $1 AND alias ORDER BY 1, 2"
LEAD_ALL = "UPDATE contact_identifiers SET contact_id = $1 WHERE contact_id = $2 AND alias"
_KEYS = (
    "FROM unnest($1::smallint[], $2::int[], $3::text[], $4::text[]) "
    "AS k (lane, project_id, kind, value)"
)
_MATCH = (
    "i.lane = k.lane AND i.project_id = k.project_id AND i.kind = k.kind AND i.value = k.value "
    "AND i.contact_id = $5"
)
LEAD = f"UPDATE contact_identifiers i SET contact_id = $6, alias = true {_KEYS} WHERE {_MATCH}"  # noqa: S608
LEAD_BACK = f"{LEAD} AND i.alias"
LEAD_NOWHERE = (
    f"DELETE FROM contact_identifiers i USING {_KEYS.removeprefix('FROM ')} "  # noqa: S608
    f"WHERE {_MATCH} AND i.alias"
)
_ADD_ID = (
    "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id, alias) "
    "VALUES ($1, $2, $3, $4, $5, true)"
)

#: Kind and value.
Alias = tuple[str, str]


async def aliases_of(connection: Connection, contact_id: str) -> list[Alias]:
    """Everything that leads to a contact, the ids of those merged into it among them."""
    return [(row[0], row[1]) for row in await connection.fetch(OF, contact_id)]


async def ids_of(connection: Connection, contact_id: str) -> list[str]:
    """The id of a contact, and those of contacts that were merged into it."""
    found = await aliases_of(connection, contact_id)
    return [contact_id, *(value for kind, value in found if kind == IdentityType.CONTACT_ID)]


def own_of(contact: Contact) -> list[Alias]:
    """The identifiers of a contact."""
    return [(field, value) for field in IDENTIFIERS if (value := getattr(contact, field))]


async def lead_to(connection: Connection, other: Contact, contact_id: str) -> None:
    """Let all that leads to one contact, and its own id, lead to another one."""
    await connection.execute(LEAD_ALL, contact_id, other.id)
    await _run(connection, LEAD, other.project_id, own_of(other), other.id, contact_id)
    key = identifier(other.project_id, IdentityType.CONTACT_ID, other.id)
    await connection.execute(_ADD_ID, *key, contact_id)


async def lead_back(
    connection: Connection, other: Contact, aliases: Iterable[Alias], contact_id: str
) -> None:
    """Undo `lead_to`; the own identifiers of the contact lead nowhere then."""
    own = [(IdentityType.CONTACT_ID.value, other.id), *own_of(other)]
    await _run(connection, LEAD_NOWHERE, other.project_id, own, contact_id)
    await _run(connection, LEAD_BACK, other.project_id, aliases, contact_id, other.id)


async def _run(
    connection: Connection, sql: str, project_id: int, aliases: Iterable[Alias], *ids: str
) -> None:
    keys = sorted(identifier(project_id, IdentityType(kind), value) for kind, value in aliases)
    if keys:
        await connection.execute(sql, *columns_of(keys, 4), *ids)
