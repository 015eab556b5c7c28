"""Audiences and their members.

Every change of a membership inserts its system event in the same transaction, also when it ends
because the contact or the audience is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.contacts.audiences import AUDIENCES_MAX, Audience, AudienceFields, Entered
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.access.automation_use import reject_used
from headrace.store.contacts.groups import audience_members
from headrace.store.contacts.groups.audience_rows import COLUMNS, audience, changed
from headrace.store.contacts.refs import find_ref, hold_refs
from headrace.store.contract.errors import StoreConflictError
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction

_GET_TEXT = (
    f"SELECT {COLUMNS} FROM audiences WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL"
)
_GET = sql(_GET_TEXT)
# Keeps contacts from entering while an audience is deleted.
_HOLD = sql(f"{_GET_TEXT} FOR SHARE")
LIST = sql(
    f"SELECT {COLUMNS} FROM audiences WHERE project_id = $1 AND deleted_us IS NULL "
    "AND created_us < $2 ORDER BY created_us DESC LIMIT $3"
)
# Audiences have no lane, memberships have the lane of the contact: so these are two statements.
_MEMBERSHIPS = sql("SELECT audience_id FROM audience_members WHERE lane = $1 AND contact_id = $2")
_OF_CONTACT = sql(
    f"SELECT {COLUMNS} FROM audiences WHERE project_id = $1 AND deleted_us IS NULL "
    "AND id = ANY($2::text[]) ORDER BY name"
)
_INSERT = sql(f"INSERT INTO audiences ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)")
_TAKEN = sql("SELECT id FROM audiences WHERE project_id = $1 AND name = $2 AND deleted_us IS NULL")
_COUNT = sql(
    "SELECT count(*), coalesce(max(created_us), 0) FROM audiences "
    "WHERE project_id = $1 AND deleted_us IS NULL"
)
# Serializes the assignment of names and creation times in a project.
_LOCK = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
_UPDATE = sql("UPDATE audiences SET name = $1, description = $2, updated_us = $3 WHERE id = $4")
_DELETE = sql(
    "UPDATE audiences SET deleted_us = $3 WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL"
)
_DELETED = sql(
    f"SELECT {COLUMNS} FROM audiences WHERE deleted_us IS NOT NULL ORDER BY deleted_us LIMIT 1"
)
_REMOVE = sql("DELETE FROM audiences WHERE id = $1")


class TooManyAudiencesError(Exception):
    """The project has `AUDIENCES_MAX` audiences."""


class UnknownContactsError(Exception):
    """Ids without a contact; `args[0]` is the list of their positions. Nothing changed."""


class Audiences:
    """Audiences of all projects. A name that is taken raises `StoreConflictError`."""

    def __init__(self, database: Database, system_events: SystemEvents) -> None:
        self._database = database
        self._system_events = system_events

    async def create(self, project_id: int, fields: AudienceFields, now_us: int) -> Audience:
        """Create an audience; `fields.name` is given.

        Raises:
            TooManyAudiencesError: there are `AUDIENCES_MAX` already.
        """

        async def work(tx: Transaction) -> Audience:
            await tx.rows(_LOCK, project_id)
            await _reject_taken(tx, project_id, fields.name, None)
            count, newest_us = await tx.row(_COUNT, project_id) or (0, 0)
            if count >= AUDIENCES_MAX:
                raise TooManyAudiencesError
            made = Audience(
                id=uuid_text(new_uuid()),
                project_id=project_id,
                name=fields.name or "",
                description=fields.description or "",
                created_us=max(now_us, newest_us + 1),
                updated_us=max(now_us, newest_us + 1),
            )
            await tx.run(_INSERT, *(getattr(made, n) for n in COLUMNS.split(", ")))
            return made

        return await self._database.write(work)

    async def get(self, project_id: int, audience_id: str) -> Audience | None:
        """One audience, None when the project has no such audience."""
        return await self._database.read(lambda tx: find_audience(tx, project_id, audience_id))

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Audience]:
        """Audiences of a project, newest first, made before `before`."""
        below = BIGINT_MAX if before is None else before

        async def read(tx: Transaction) -> Sequence[Audience]:
            return [audience(row) for row in await tx.rows(LIST, project_id, below, limit)]

        return await self._database.read(read)

    async def of_contact(self, project_id: int, contact_id: str) -> Sequence[Audience]:
        """Audiences of a contact, by name; empty without the contact."""

        async def read(tx: Transaction) -> Sequence[Audience]:
            contact = await find_ref(tx, project_id, contact_id)
            if contact is None:
                return []
            rows = await tx.rows(_MEMBERSHIPS, contact.home_lane, contact.id)
            ids = [row[0] for row in rows]
            return [audience(row) for row in await tx.rows(_OF_CONTACT, project_id, ids)]

        return await self._database.read(read)

    async def update(
        self, project_id: int, audience_id: str, fields: AudienceFields, now_us: int
    ) -> Audience | None:
        """Write to an audience; None when there is none."""

        async def work(tx: Transaction) -> Audience | None:
            await tx.rows(_LOCK, project_id)
            held = await find_audience(tx, project_id, audience_id)
            if held is None or not changed(held, fields):
                return held
            await _reject_taken(tx, project_id, fields.name, audience_id)
            values = {"name": held.name, "description": held.description} | changed(held, fields)
            updated_us = max(now_us, held.updated_us)
            await tx.run(_UPDATE, *values.values(), updated_us, audience_id)
            return await find_audience(tx, project_id, audience_id)

        return await self._database.write(work)

    async def delete(
        self, project_id: int, audience_id: str, now_us: int, *, force: bool = False
    ) -> bool:
        """Delete an audience; `remove_deleted` removes its members. False when there is none.

        Args:
            force: also if automations use it.

        Raises:
            UsedByAutomationsError: automations use it.
        """

        async def work(tx: Transaction) -> bool:
            if not force:
                await reject_used(tx, project_id, audience_id)
            return await tx.run(_DELETE, audience_id, project_id, now_us) > 0

        return await self._database.write(work)

    async def remove_deleted(self, limit: int, now_us: int) -> bool:
        """Remove up to `limit` members of deleted audiences; returns whether there are more."""

        async def work(tx: Transaction) -> bool:
            row = await tx.row(_DELETED)
            if row is None:
                return False
            deleted = audience(row)
            found = await audience_members.empty(tx, self._system_events, deleted, limit, now_us)
            if found < limit:
                await tx.run(_REMOVE, deleted.id)
            return await tx.row(_DELETED) is not None

        # Usually there is nothing to remove: then the write lock of SQLite is not taken.
        if await self._database.read(lambda tx: tx.row(_DELETED)) is None:
            return False
        return await self._database.write(work)

    async def enter(
        self, project_id: int, audience_id: str, contact_ids: Sequence[str], now_us: int
    ) -> Entered | None:
        """Add contacts; None when there is no such audience. An id that repeats counts once.

        Raises:
            UnknownContactsError: for all ids without a contact.
        """

        async def work(tx: Transaction) -> Entered | None:
            found = await hold_refs(tx, project_id, contact_ids)
            row = await tx.row(_HOLD, audience_id, project_id)
            if row is None:
                return None
            unknown = [place for place, each in enumerate(contact_ids) if each not in found]
            if unknown:
                raise UnknownContactsError(unknown)
            contacts = {found[each].id: found[each] for each in contact_ids}
            entered = await audience_members.enter(
                tx, self._system_events, audience(row), list(contacts.values()), now_us
            )
            return Entered(entered, len(contacts) - entered)

        return await self._database.write(work)

    async def exit(self, project_id: int, audience_id: str, contact_id: str, now_us: int) -> bool:
        """Remove a contact; False when it is not a member, or one of the two does not exist."""

        async def work(tx: Transaction) -> bool:
            held = await find_audience(tx, project_id, audience_id)
            contact = await find_ref(tx, project_id, contact_id)
            if held is None or contact is None:
                return False
            return await audience_members.leave(tx, self._system_events, held, contact, now_us)

        return await self._database.write(work)


async def find_audience(tx: Transaction, project_id: int, audience_id: str) -> Audience | None:
    """One audience that is not deleted."""
    row = await tx.row(_GET, audience_id, project_id)
    return None if row is None else audience(row)


async def _reject_taken(
    tx: Transaction, project_id: int, name: str | None, own_id: str | None
) -> None:
    holder = await tx.value(_TAKEN, project_id, name)
    if holder not in (None, own_id):
        raise StoreConflictError("name")
