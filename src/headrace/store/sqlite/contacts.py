"""Contacts in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec
from msgspec import UNSET

from headrace.domain.contacts import (
    CONTACT_CREATED,
    CONTACT_DELETED,
    CONTACT_UPDATED,
    Changed,
    Contact,
    ContactWrite,
    apply,
    event_payload,
    new_contact,
)
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.properties import PropertyValue
from headrace.store.contract import StoreConflictError
from headrace.store.contract_contacts import ContactFilter, ContactPage
from headrace.store.contract_processing import SystemEvent
from headrace.store.sqlite.contact_lists import contact_rows
from headrace.store.sqlite.contact_refs import find_ref
from headrace.store.sqlite.contact_ties import cut_ties
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.system_events import insert_system_events
from headrace.store.sqlite.writer import Writer

_COLUMNS = "id, project_id, external_id, email, email_original, properties, created_us, updated_us"
_GET = f"SELECT {_COLUMNS} FROM contacts WHERE id = ? AND project_id = ?"  # noqa: S608
_FIND = {
    field: f"SELECT {_COLUMNS} FROM contacts WHERE project_id = ? AND {field} = ?"  # noqa: S608
    for field in ("external_id", "email")
}
_INSERT = f"INSERT INTO contacts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_UPDATE = (
    "UPDATE contacts SET external_id = ?, email = ?, email_original = ?, properties = ?, "
    "updated_us = ? WHERE id = ?"
)

_properties = msgspec.json.Decoder(dict[str, PropertyValue]).decode


def _contact(row: Sequence[Any]) -> Contact:
    contact_id, project_id, external_id, email, original, properties, created, updated = row
    return Contact(
        id=contact_id,
        project_id=project_id,
        external_id=external_id,
        email=email,
        email_original=original,
        properties=_properties(properties),
        created_us=created,
        updated_us=updated,
    )


class SqliteContacts:
    """See `headrace.store.contract_contacts.ContactStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(
        self, project_id: int, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact:
        return await self._writer.run(
            lambda connection: _create(connection, project_id, write, now_us, source)
        )

    async def upsert(
        self, project_id: int, write: ContactWrite, now_us: int, *, source: str
    ) -> tuple[Contact, bool]:
        def work(connection: apsw.Connection) -> tuple[Contact, bool]:
            found = _find_by_write(connection, project_id, write)
            if found is None:
                return _create(connection, project_id, write, now_us, source), True
            return _update(connection, found, write, now_us, source), False

        return await self._writer.run(work)

    async def get(self, project_id: int, contact_id: str) -> Contact | None:
        def read(connection: apsw.Connection) -> Contact | None:
            return _one(connection, _GET, contact_id, project_id)

        return await self._readers.run(read)

    async def update(
        self, project_id: int, contact_id: str, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact | None:
        def work(connection: apsw.Connection) -> Contact | None:
            found = _one(connection, _GET, contact_id, project_id)
            if found is None:
                return None
            return _update(connection, found, write, now_us, source)

        return await self._writer.run(work)

    async def delete(self, project_id: int, contact_id: str, now_us: int, *, source: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            found = _one(connection, _GET, contact_id, project_id)
            if found is None:
                return False
            _cut_ties(connection, found, now_us)
            connection.execute("DELETE FROM contacts WHERE id = ?", (found.id,))
            _emit(connection, CONTACT_DELETED, Changed(found, {}), now_us, source)
            return True

        return await self._writer.run(work)

    async def list(
        self, project_id: int, wanted: ContactFilter, *, before: int | None, limit: int
    ) -> ContactPage:
        def read(connection: apsw.Connection) -> ContactPage:
            rows, following = contact_rows(
                connection, _COLUMNS, project_id, wanted, before=before, limit=limit
            )
            return ContactPage([_contact(row) for row in rows], following)

        return await self._readers.run(read)


def _one(connection: apsw.Connection, sql: str, *values: Any) -> Contact | None:
    row = connection.execute(sql, values).fetchone()
    return None if row is None else _contact(row)


def _cut_ties(connection: apsw.Connection, contact: Contact, now_us: int) -> None:
    ref = find_ref(connection, contact.project_id, contact.id)
    if ref is not None:
        cut_ties(connection, ref, now_us)


def _find_by_write(
    connection: apsw.Connection, project_id: int, write: ContactWrite
) -> Contact | None:
    """The contact an upsert means: the first identifier that is given decides, and alone."""
    if isinstance(write.external_id, str):
        return _one(connection, _FIND["external_id"], project_id, write.external_id)
    return _one(connection, _FIND["email"], project_id, write.email)


def _refuse_clash(
    connection: apsw.Connection, project_id: int, write: ContactWrite, own_id: str | None
) -> None:
    # Looked up under the write lock, not told by a failed insert: that would name one field only.
    fields = []
    for field, value in (("external_id", write.external_id), ("email", write.email)):
        if value is None or value is UNSET:
            continue
        holder = _one(connection, _FIND[field], project_id, value)
        if holder is not None and holder.id != own_id:
            fields.append(field)
    if fields:
        raise StoreConflictError(*fields)


def _create(
    connection: apsw.Connection, project_id: int, write: ContactWrite, now_us: int, source: str
) -> Contact:
    _refuse_clash(connection, project_id, write, None)
    contact = new_contact(uuid_text(new_uuid()), project_id, write, now_us)
    connection.execute(
        _INSERT,
        (
            contact.id,
            contact.project_id,
            contact.external_id,
            contact.email,
            contact.email_original,
            msgspec.json.encode(contact.properties).decode(),
            contact.created_us,
            contact.updated_us,
        ),
    )
    _emit(connection, CONTACT_CREATED, Changed(contact, {}), now_us, source)
    return contact


def _update(
    connection: apsw.Connection, held: Contact, write: ContactWrite, now_us: int, source: str
) -> Contact:
    _refuse_clash(connection, held.project_id, write, held.id)
    changed = apply(held, write, now_us)
    if not changed.changes:
        return held
    after = changed.contact
    connection.execute(
        _UPDATE,
        (
            after.external_id,
            after.email,
            after.email_original,
            msgspec.json.encode(after.properties).decode(),
            after.updated_us,
            after.id,
        ),
    )
    _emit(connection, CONTACT_UPDATED, changed, now_us, source)
    return after


def _emit(
    connection: apsw.Connection, name: str, changed: Changed, now_us: int, source: str
) -> None:
    contact = changed.contact
    event = SystemEvent(
        project_id=contact.project_id,
        event=name,
        contact_id=contact.id,
        payload=event_payload(contact, source, changed.changes),
        lane=contact.lane,
    )
    insert_system_events(connection, [event], now_us)
