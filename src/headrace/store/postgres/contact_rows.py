"""Contacts found by any identifier, written and told of; each runs in the caller's transaction.

Two tables hold a contact: its row, and a row for each identifier that leads to it, in the lane of
that identity. All writers lock the contact first and its identifiers after, so one of two that
meet waits for the other, and then finds what that one has written.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from headrace.domain.contacts import IDENTIFIERS, Changed, Contact, ContactWrite, event_payload
from headrace.domain.identity import IdentityType, contact_lane
from headrace.store.contract import StoreConflictError
from headrace.store.contract_processing import SystemEvent
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.contact_lookup import Identifier, identifier
from headrace.store.postgres.contact_races import ContactRaceError
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.plan_contacts import CLAIM_IDENTIFIERS
from headrace.store.postgres.system_events import insert_system_events
from headrace.store.rows.contacts import COLUMNS, WRITTEN, contact, row, written

OWNER = (
    "SELECT contact_id FROM contact_identifiers "
    "WHERE lane = $1 AND project_id = $2 AND kind = $3 AND value = $4"
)
BY_ID = f"SELECT {COLUMNS} FROM contacts WHERE lane = $1 AND id = $2 AND project_id = $3"  # noqa: S608
_INSERT = (
    f"INSERT INTO contacts (lane, number, {COLUMNS}) "  # noqa: S608
    f"VALUES ({', '.join(f'${n}' for n in range(1, 14))})"
)
_UPDATE = (
    f"UPDATE contacts SET {', '.join(f'{name} = ${n}' for n, name in enumerate(WRITTEN, 3))} "  # noqa: S608
    "WHERE lane = $1 AND id = $2"
)
# An alias that the contact takes as its own identifier is none any more.
_OWN = (
    "UPDATE contact_identifiers SET alias = false "
    "WHERE lane = $1 AND project_id = $2 AND kind = $3 AND value = $4 AND contact_id = $5 AND alias"
)
_LET_GO = (
    "DELETE FROM contact_identifiers "
    "WHERE lane = $1 AND project_id = $2 AND kind = $3 AND value = $4 AND contact_id = $5"
)


async def by_id(
    connection: Connection, project_id: int, contact_id: str, *, lock: bool = False
) -> Contact | None:
    """The contact of an id, also of one that was merged into it.

    Args:
        lock: whether nobody else may change it until the transaction ends.
    """
    found = await _one(connection, project_id, contact_id, lock=lock)
    if found is not None:
        return found
    return await _by_owner(connection, project_id, IdentityType.CONTACT_ID, contact_id, lock=lock)


async def by_write(connection: Connection, project_id: int, write: ContactWrite) -> Contact | None:
    """The contact an upsert means, locked."""
    field = decides(write)
    if field is None:
        return None
    kind, value = IdentityType(field), getattr(write, field)
    return await _by_owner(connection, project_id, kind, value, lock=True)


def decides(write: ContactWrite) -> str | None:
    """The field by which an upsert finds its contact: the first identifier given, and alone."""
    return next((field for field in IDENTIFIERS if isinstance(getattr(write, field), str)), None)


async def refuse_clash(
    connection: Connection, project_id: int, write: ContactWrite, own_id: str | None
) -> None:
    """Refuse identifiers of somebody else.

    Raises:
        StoreConflictError: naming the fields.
    """
    fields = []
    for field in IDENTIFIERS:
        value = getattr(write, field)
        if value is None or value is UNSET:
            continue
        key = identifier(project_id, IdentityType(field), value)
        holder = await connection.fetchval(OWNER, *key)
        if holder is not None and holder != own_id:
            fields.append(field)
    if fields:
        raise StoreConflictError(*fields)


async def insert(
    connection: Connection, numbers: Numbers, new: Contact, number: int | None = None
) -> None:
    """Insert a contact, in its old place in the lists if it had one.

    Raises:
        ContactRaceError: somebody else has taken an identifier since.
    """
    place = numbers.number() if number is None else number
    await connection.execute(_INSERT, contact_lane(new.project_id, new.id), place, *row(new))
    await _claim(connection, new, _own_identifiers(new))


async def update(connection: Connection, before: Contact, after: Contact) -> None:
    """Write what may change of a contact that is locked.

    Raises:
        ContactRaceError: somebody else has taken an identifier since.
    """
    lane = contact_lane(after.project_id, after.id)
    await connection.execute(_UPDATE, lane, after.id, *written(after))
    had, has = _own_identifiers(before), _own_identifiers(after)
    for key in sorted(had - has):
        await connection.execute(_LET_GO, *key, after.id)
    for key in sorted(has - had):
        if (await connection.execute(_OWN, *key, after.id)) != "UPDATE 0":
            has.remove(key)
    await _claim(connection, after, has - had)


async def let_go(connection: Connection, held: Contact) -> None:
    """Let others have the identifiers of a contact that goes."""
    for key in sorted(_own_identifiers(held)):
        await connection.execute(_LET_GO, *key, held.id)


async def tell(
    connection: Connection,
    numbers: Numbers,
    name: str,
    changed: Changed,
    now_us: int,
    payload: str,
) -> None:
    """Insert the system event of a change."""
    about = changed.contact
    event = SystemEvent(about.project_id, name, about.id, payload, about.lane)
    await insert_system_events(connection, numbers, [event], now_us)


async def emit(
    connection: Connection,
    numbers: Numbers,
    name: str,
    changed: Changed,
    now_us: int,
    source: str,
) -> None:
    """Insert the system event of a change, with its usual payload."""
    payload = event_payload(changed.contact, source, changed.changes)
    await tell(connection, numbers, name, changed, now_us, payload)


def _own_identifiers(of: Contact) -> set[Identifier]:
    return {
        identifier(of.project_id, IdentityType(field), value)
        for field in IDENTIFIERS
        if (value := getattr(of, field)) is not None
    }


async def _claim(connection: Connection, of: Contact, keys: set[Identifier]) -> None:
    if not keys:
        return
    rows = sorted((*key, of.id) for key in keys)
    if len(await connection.fetch(CLAIM_IDENTIFIERS, *columns_of(rows, 5))) != len(rows):
        raise ContactRaceError


async def _one(
    connection: Connection, project_id: int, contact_id: str, *, lock: bool
) -> Contact | None:
    sql = f"{BY_ID} FOR UPDATE" if lock else BY_ID
    lane = contact_lane(project_id, contact_id)
    found: Any = await connection.fetchrow(sql, lane, contact_id, project_id)
    return None if found is None else contact(found)


async def _by_owner(
    connection: Connection, project_id: int, kind: IdentityType, value: str, *, lock: bool
) -> Contact | None:
    owner = await connection.fetchval(OWNER, *identifier(project_id, kind, value))
    if owner is None:
        return None
    found = await _one(connection, project_id, owner, lock=lock)
    if lock and getattr(found, kind, None) != value:
        # Perhaps by an alias; or the contact let go of the identifier while this waited for it.
        now = await connection.fetchval(OWNER, *identifier(project_id, kind, value))
        if found is None or now != owner:
            raise ContactRaceError
    return found
