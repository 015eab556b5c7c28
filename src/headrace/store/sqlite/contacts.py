"""Contacts in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import apsw

from headrace.domain.contacts import (
    CONTACT_CREATED,
    CONTACT_DELETED,
    CONTACT_UPDATED,
    Changed,
    Contact,
    ContactWrite,
    apply,
    clash,
    differences,
    new_contact,
)
from headrace.domain.errors import ApiError
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contacts.memberships import detach_memberships
from headrace.store.contacts.refs import find_ref
from headrace.store.contract import StoreConflictError
from headrace.store.contract_contacts import (
    UPSERTS_MAX,
    ContactFilter,
    ContactPage,
    Rehearsed,
    Upserted,
    UpsertOutcome,
)
from headrace.store.engine.transaction import drive
from headrace.store.rows.contacts import COLUMNS, contact
from headrace.store.sqlite import contact_rows
from headrace.store.sqlite.contact_lists import contact_rows as listed_rows
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.system_events import SqliteSystemEvents
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

# What led to a contact or told of it and another; nothing is left to be undone.
_FORGET = (
    "DELETE FROM contact_aliases WHERE contact_id = ?",
    "DELETE FROM contact_pairs WHERE low_id = ?",
    "DELETE FROM contact_pairs WHERE high_id = ?",
    "UPDATE merges SET snapshot = NULL WHERE contact_id = ?",
    "UPDATE merges SET snapshot = NULL WHERE other_contact_id = ?",
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
        done = await self._writer.run(
            lambda connection: _upsert(connection, project_id, write, now_us, source)
        )
        return done.contact, done.created

    async def upsert_many(
        self,
        project_id: int,
        writes: Sequence[ContactWrite],
        now_us: int,
        *,
        source: str,
        dry_run: bool = False,
    ) -> Sequence[UpsertOutcome]:
        def work(part: Sequence[ContactWrite], connection: apsw.Connection) -> list[UpsertOutcome]:
            return [_outcome(connection, project_id, write, now_us, source) for write in part]

        def rehearse(connection: apsw.Connection) -> None:
            raise Rehearsed(work(writes, connection))

        if dry_run:
            try:
                await self._writer.run(rehearse)
            except Rehearsed as rehearsed:
                return rehearsed.outcomes
        outcomes: list[UpsertOutcome] = []
        for start in range(0, len(writes), UPSERTS_MAX):
            part = writes[start : start + UPSERTS_MAX]
            outcomes += await self._writer.run(partial(work, part))
        return outcomes

    async def get(self, project_id: int, contact_id: str) -> Contact | None:
        return await self._readers.run(
            lambda connection: contact_rows.by_id(connection, project_id, contact_id)
        )

    async def update(
        self, project_id: int, contact_id: str, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact | None:
        def work(connection: apsw.Connection) -> Contact | None:
            found = contact_rows.by_id(connection, project_id, contact_id)
            if found is None:
                return None
            return _update(connection, found, write, now_us, source)

        return await self._writer.run(work)

    async def delete(self, project_id: int, contact_id: str, now_us: int, *, source: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            found = contact_rows.by_id(connection, project_id, contact_id)
            if found is None:
                return False
            remove(connection, found, now_us, source)
            return True

        return await self._writer.run(work)

    async def list(
        self, project_id: int, wanted: ContactFilter, *, before: int | None, limit: int
    ) -> ContactPage:
        def read(connection: apsw.Connection) -> ContactPage:
            rows, following = listed_rows(
                connection, COLUMNS, project_id, wanted, before=before, limit=limit
            )
            return ContactPage([contact(row) for row in rows], following)

        return await self._readers.run(read)


def remove(connection: apsw.Connection, held: Contact, now_us: int, source: str) -> None:
    """Remove a contact and what is about it alone; its events stay. In the caller's transaction."""
    tx = SqliteTransaction(connection)
    ref = drive(find_ref(tx, held.project_id, held.id))
    assert ref is not None
    drive(detach_memberships(tx, SqliteSystemEvents(), ref, now_us))
    for statement in _FORGET:
        connection.execute(statement, (held.id,))
    connection.execute("DELETE FROM contacts WHERE id = ?", (held.id,))
    contact_rows.emit(connection, CONTACT_DELETED, Changed(held, {}), now_us, source)


def _upsert(
    connection: apsw.Connection, project_id: int, write: ContactWrite, now_us: int, source: str
) -> Upserted:
    found = contact_rows.by_write(connection, project_id, write)
    if found is None:
        created = _create(connection, project_id, write, now_us, source)
        return Upserted(created, created=True, changed=True)
    after = _update(connection, found, write, now_us, source)
    return Upserted(after, created=False, changed=bool(differences(found, after)))


def _outcome(
    connection: apsw.Connection, project_id: int, write: ContactWrite, now_us: int, source: str
) -> UpsertOutcome:
    try:
        return _upsert(connection, project_id, write, now_us, source)
    except StoreConflictError as error:
        # Both are raised before anything is written, so the transaction goes on.
        return clash(error.args)
    except ApiError as error:
        return error


def _create(
    connection: apsw.Connection, project_id: int, write: ContactWrite, now_us: int, source: str
) -> Contact:
    contact_rows.refuse_clash(connection, project_id, write, None)
    created = new_contact(uuid_text(new_uuid()), project_id, write, now_us)
    contact_rows.insert(connection, created)
    contact_rows.emit(connection, CONTACT_CREATED, Changed(created, {}), now_us, source)
    return created


def _update(
    connection: apsw.Connection, held: Contact, write: ContactWrite, now_us: int, source: str
) -> Contact:
    contact_rows.refuse_clash(connection, held.project_id, write, held.id)
    changed = apply(held, write, now_us)
    if changed.contact != held:
        # Perhaps only later times for the values that are there.
        contact_rows.update(connection, changed.contact)
    if changed.changes:
        contact_rows.emit(connection, CONTACT_UPDATED, changed, now_us, source)
    return changed.contact
