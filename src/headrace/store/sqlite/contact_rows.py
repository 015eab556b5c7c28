"""Contacts found by any identifier, written and told of; each runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
from msgspec import UNSET

from headrace.domain.contacts import IDENTIFIERS, Changed, Contact, ContactWrite, event_payload
from headrace.domain.identity import contact_lane
from headrace.store.contract import StoreConflictError
from headrace.store.contract_processing import SystemEvent
from headrace.store.rows.contacts import COLUMNS, WRITTEN, contact, row, written
from headrace.store.sqlite.system_events import insert_system_events

_BY_ID = f"SELECT {COLUMNS} FROM contacts WHERE id = ? AND project_id = ?"  # noqa: S608
_BY = {
    field: f"SELECT {COLUMNS} FROM contacts WHERE project_id = ? AND {field} = ?"  # noqa: S608
    for field in IDENTIFIERS
}
_ALIAS = "SELECT contact_id FROM contact_aliases WHERE project_id = ? AND kind = ? AND value = ?"
_INSERT = f"INSERT INTO contacts (lane, {COLUMNS}) VALUES ({', '.join('?' * 12)})"  # noqa: S608
_INSERT_NUMBERED = (
    f"INSERT INTO contacts (number, lane, {COLUMNS}) VALUES (?, {', '.join('?' * 12)})"  # noqa: S608
)
_UPDATE = f"UPDATE contacts SET {', '.join(f'{name} = ?' for name in WRITTEN)} WHERE id = ?"  # noqa: S608
# An alias that the contact takes as its own identifier is none any more.
_OWN = "DELETE FROM contact_aliases WHERE project_id = ? AND kind = ? AND value = ?"


def by_id(connection: apsw.Connection, project_id: int, contact_id: str) -> Contact | None:
    """The contact of an id, also of one that was merged into it."""
    found = _one(connection, _BY_ID, contact_id, project_id)
    if found is not None:
        return found
    alias = _alias(connection, project_id, "contact_id", contact_id)
    return None if alias is None else _one(connection, _BY_ID, alias, project_id)


def by_identifier(
    connection: apsw.Connection, project_id: int, field: str, value: str
) -> Contact | None:
    """The contact that an `external_id` or normalized `email` leads to."""
    found = _one(connection, _BY[field], project_id, value)
    if found is not None:
        return found
    alias = _alias(connection, project_id, field, value)
    return None if alias is None else _one(connection, _BY_ID, alias, project_id)


def by_write(connection: apsw.Connection, project_id: int, write: ContactWrite) -> Contact | None:
    """The contact an upsert means: the first identifier that is given decides, and alone."""
    for field in IDENTIFIERS:
        value = getattr(write, field)
        if isinstance(value, str):
            return by_identifier(connection, project_id, field, value)
    return None


def refuse_clash(
    connection: apsw.Connection, project_id: int, write: ContactWrite, own_id: str | None
) -> None:
    """Refuse identifiers of somebody else.

    Raises:
        StoreConflictError: naming the fields.
    """
    # Looked up under the write lock, not told by a failed insert: that would name one field only.
    fields = []
    for field in IDENTIFIERS:
        value = getattr(write, field)
        if value is None or value is UNSET:
            continue
        holder = by_identifier(connection, project_id, field, value)
        if holder is not None and holder.id != own_id:
            fields.append(field)
    if fields:
        raise StoreConflictError(*fields)


def insert(connection: apsw.Connection, new: Contact, number: int | None = None) -> None:
    """Insert a contact, in its old place in the lists if it had one."""
    lane = contact_lane(new.project_id, new.id)
    if number is None:
        connection.execute(_INSERT, (lane, *row(new)))
    else:
        connection.execute(_INSERT_NUMBERED, (number, lane, *row(new)))


def update(connection: apsw.Connection, after: Contact) -> None:
    """Write what may change."""
    connection.execute(_UPDATE, (*written(after), after.id))
    for field in IDENTIFIERS:
        value = getattr(after, field)
        if value is not None:
            connection.execute(_OWN, (after.project_id, field, value))


def tell(
    connection: apsw.Connection, name: str, changed: Changed, now_us: int, payload: str
) -> None:
    """Insert the system event of a change."""
    about = changed.contact
    event = SystemEvent(about.project_id, name, about.id, payload, about.lane)
    insert_system_events(connection, [event], now_us)


def emit(
    connection: apsw.Connection, name: str, changed: Changed, now_us: int, source: str
) -> None:
    """Insert the system event of a change, with its usual payload."""
    payload = event_payload(changed.contact, source, changed.changes)
    tell(connection, name, changed, now_us, payload)


def _one(connection: apsw.Connection, sql: str, *values: Any) -> Contact | None:
    found: Sequence[Any] | None = connection.execute(sql, values).fetchone()
    return None if found is None else contact(found)


def _alias(connection: apsw.Connection, project_id: int, kind: str, value: str) -> str | None:
    found: Any = connection.execute(_ALIAS, (project_id, kind, value)).fetchone()
    return None if found is None else str(found[0])
