"""Contacts on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

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
from headrace.domain.identity import contact_lane
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
from headrace.store.postgres import contact_rows
from headrace.store.postgres.contact_lists import contact_rows as listed_rows
from headrace.store.postgres.contact_races import ContactRaceError, write_contacts
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.system_events import PostgresSystemEvents
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.contacts import COLUMNS, contact

# What led to a contact or told of it and another; nothing is left to be undone.
_FORGET = (
    "DELETE FROM contact_identifiers WHERE contact_id = $1 AND alias",
    "DELETE FROM contact_pairs WHERE low_id = $1",
    "DELETE FROM contact_pairs WHERE high_id = $1",
    "UPDATE merges SET snapshot = NULL WHERE contact_id = $1",
    "UPDATE merges SET snapshot = NULL WHERE other_contact_id = $1",
)
_DELETE = "DELETE FROM contacts WHERE lane = $1 AND id = $2"


class PostgresContacts:
    """See `headrace.store.contract_contacts.ContactStore`."""

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers

    async def create(
        self, project_id: int, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact:
        async def work(connection: Connection) -> Contact:
            writer = _Writer(connection, self._numbers, now_us, source)
            return await writer.create(project_id, write)

        return await write_contacts(self._database, work)

    async def upsert(
        self, project_id: int, write: ContactWrite, now_us: int, *, source: str
    ) -> tuple[Contact, bool]:
        async def work(connection: Connection) -> Upserted:
            writer = _Writer(connection, self._numbers, now_us, source)
            return await writer.upsert(project_id, write)

        done = await write_contacts(self._database, work)
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
        outcomes: list[UpsertOutcome] = []
        step = max(1, len(writes)) if dry_run else UPSERTS_MAX
        for start in range(0, len(writes), step):
            part = writes[start : start + step]

            async def work(
                connection: Connection, part: Sequence[ContactWrite] = part
            ) -> list[UpsertOutcome]:
                writer = _Writer(connection, self._numbers, now_us, source)
                done = [await writer.outcome(project_id, write) for write in part]
                if dry_run:
                    raise Rehearsed(done)
                return done

            try:
                outcomes += await write_contacts(self._database, work)
            except Rehearsed as rehearsed:
                return rehearsed.outcomes
        return outcomes

    async def get(self, project_id: int, contact_id: str) -> Contact | None:
        return await self._database.read(
            lambda connection: contact_rows.by_id(connection, project_id, contact_id)
        )

    async def update(
        self, project_id: int, contact_id: str, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact | None:
        async def work(connection: Connection) -> Contact | None:
            found = await contact_rows.by_id(connection, project_id, contact_id, lock=True)
            if found is None:
                return None
            writer = _Writer(connection, self._numbers, now_us, source)
            return await writer.update(found, write)

        return await write_contacts(self._database, work)

    async def delete(self, project_id: int, contact_id: str, now_us: int, *, source: str) -> bool:
        async def work(connection: Connection) -> bool:
            found = await contact_rows.by_id(connection, project_id, contact_id, lock=True)
            if found is not None:
                await remove(connection, self._numbers, found, now_us, source)
            return found is not None

        return await write_contacts(self._database, work)

    async def list(
        self, project_id: int, wanted: ContactFilter, *, before: int | None, limit: int
    ) -> ContactPage:
        async def read(connection: Connection) -> ContactPage:
            rows, following = await listed_rows(
                connection, COLUMNS, project_id, wanted, before=before, limit=limit
            )
            return ContactPage([contact(row) for row in rows], following)

        return await self._database.read(read)


async def remove(
    connection: Connection, numbers: Numbers, held: Contact, now_us: int, source: str
) -> None:
    """Remove a locked contact and what is about it alone; its events stay."""
    tx = PostgresTransaction(connection)
    ref = await find_ref(tx, held.project_id, held.id)
    assert ref is not None
    await detach_memberships(tx, PostgresSystemEvents(numbers), ref, now_us)
    await contact_rows.let_go(connection, held)
    for statement in _FORGET:
        await connection.execute(statement, held.id)
    await connection.execute(_DELETE, contact_lane(held.project_id, held.id), held.id)
    changed = Changed(held, {})
    await contact_rows.emit(connection, numbers, CONTACT_DELETED, changed, now_us, source)


class _Writer:
    """Writes of contacts inside one transaction, each with its system event."""

    def __init__(self, connection: Connection, numbers: Numbers, now_us: int, source: str) -> None:
        self._connection = connection
        self._numbers = numbers
        self._now_us = now_us
        self._source = source

    async def outcome(self, project_id: int, write: ContactWrite) -> UpsertOutcome:
        try:
            return await self.upsert(project_id, write)
        except StoreConflictError as error:
            # Both are raised before anything is written, so the transaction goes on.
            return clash(error.args)
        except ApiError as error:
            return error

    async def upsert(self, project_id: int, write: ContactWrite) -> Upserted:
        found = await contact_rows.by_write(self._connection, project_id, write)
        if found is None:
            return Upserted(
                await self._create_absent(project_id, write), created=True, changed=True
            )
        after = await self.update(found, write)
        return Upserted(after, created=False, changed=bool(differences(found, after)))

    async def _create_absent(self, project_id: int, write: ContactWrite) -> Contact:
        try:
            return await self.create(project_id, write)
        except StoreConflictError as error:
            if contact_rows.decides(write) in error.args:
                # Absent a moment ago: somebody has just created the one that is meant.
                raise ContactRaceError from None
            raise

    async def create(self, project_id: int, write: ContactWrite) -> Contact:
        await contact_rows.refuse_clash(self._connection, project_id, write, None)
        created = new_contact(uuid_text(new_uuid()), project_id, write, self._now_us)
        await contact_rows.insert(self._connection, self._numbers, created)
        await self._emit(CONTACT_CREATED, Changed(created, {}))
        return created

    async def update(self, held: Contact, write: ContactWrite) -> Contact:
        await contact_rows.refuse_clash(self._connection, held.project_id, write, held.id)
        changed = apply(held, write, self._now_us)
        if changed.contact != held:
            # Perhaps only later times for the values that are there.
            await contact_rows.update(self._connection, held, changed.contact)
        if changed.changes:
            await self._emit(CONTACT_UPDATED, changed)
        return changed.contact

    async def _emit(self, name: str, changed: Changed) -> None:
        await contact_rows.emit(
            self._connection, self._numbers, name, changed, self._now_us, self._source
        )
