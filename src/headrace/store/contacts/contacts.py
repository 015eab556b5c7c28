"""Contacts of all projects.

Every write that changes a contact inserts its system event in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.store.contacts.contact_lists import contact_rows
from headrace.store.contacts.contact_rows import COLUMNS, contact
from headrace.store.contacts.contact_writes import ContactWriter, by_id
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.contacts import (
    UPSERTS_MAX,
    ContactFilter,
    ContactPage,
    Rehearsed,
    Upserted,
    UpsertOutcome,
)
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction


class Contacts:
    """Contacts of all projects.

    A write whose `external_id` or `email` belongs to another contact raises `StoreConflictError`
    with the fields as its arguments; one that would give a contact too many properties raises
    `ApiError`. Neither changes anything.
    """

    def __init__(
        self, database: Database, system_events: SystemEvents, numbers: RowNumbers
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers

    def _writer(self, tx: Transaction, now_us: int, source: str) -> ContactWriter:
        return ContactWriter(tx, self._system_events, self._numbers, now_us, source)

    async def create(
        self, project_id: int, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact:
        """Create a contact."""

        async def work(tx: Transaction) -> Contact:
            return await self._writer(tx, now_us, source).create(project_id, write)

        return await write_contacts(lambda: self._database.write(work))

    async def upsert(
        self, project_id: int, write: ContactWrite, now_us: int, *, source: str
    ) -> tuple[Contact, bool]:
        """Write to the contact with that `external_id`, else (when none is given) `email`.

        Returns:
            The contact, and whether it was created.
        """

        async def work(tx: Transaction) -> Upserted:
            return await self._writer(tx, now_us, source).upsert(project_id, write)

        done = await write_contacts(lambda: self._database.write(work))
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
        """Upsert each contact independently; one outcome per write, same order.

        Contacts reported as written are durable once this returns. After an error some may be
        written; a retry does not change those again.

        Args:
            dry_run: whether to write nothing and only report the outcomes.
        """
        outcomes: list[UpsertOutcome] = []
        step = max(1, len(writes)) if dry_run else UPSERTS_MAX
        for start in range(0, len(writes), step):
            part = writes[start : start + step]

            async def work(
                tx: Transaction, part: Sequence[ContactWrite] = part
            ) -> list[UpsertOutcome]:
                writer = self._writer(tx, now_us, source)
                done = [await writer.outcome(project_id, write) for write in part]
                if dry_run:
                    raise Rehearsed(done)
                return done

            try:
                outcomes += await write_contacts(lambda: self._database.write(work))
            except Rehearsed as rehearsed:
                return rehearsed.outcomes
        return outcomes

    async def get(self, project_id: int, contact_id: str) -> Contact | None:
        """One contact, None when the project has no such contact."""
        return await self._database.read(lambda tx: by_id(tx, project_id, contact_id))

    async def update(
        self, project_id: int, contact_id: str, write: ContactWrite, now_us: int, *, source: str
    ) -> Contact | None:
        """Write to a contact; None when there is none."""

        async def work(tx: Transaction) -> Contact | None:
            found = await by_id(tx, project_id, contact_id, lock=True)
            if found is None:
                return None
            return await self._writer(tx, now_us, source).update(found, write)

        return await write_contacts(lambda: self._database.write(work))

    async def delete(self, project_id: int, contact_id: str, now_us: int, *, source: str) -> bool:
        """Delete a contact; its events stay. False when there is none."""

        async def work(tx: Transaction) -> bool:
            found = await by_id(tx, project_id, contact_id, lock=True)
            if found is not None:
                await self._writer(tx, now_us, source).remove(found)
            return found is not None

        return await write_contacts(lambda: self._database.write(work))

    async def list(
        self, project_id: int, wanted: ContactFilter, *, before: int | None, limit: int
    ) -> ContactPage:
        """Contacts of a project, newest first, below the position `before`."""

        async def read(tx: Transaction) -> ContactPage:
            rows, following = await contact_rows(
                tx, COLUMNS, project_id, wanted, before=before, limit=limit
            )
            return ContactPage([contact(row) for row in rows], following)

        return await self._database.read(read)
