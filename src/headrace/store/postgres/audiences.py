"""Audiences on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.audiences import AUDIENCES_MAX, Audience, AudienceFields, Entered
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contract import StoreConflictError
from headrace.store.contract_audiences import TooManyAudiencesError, UnknownContactsError
from headrace.store.postgres import audience_members
from headrace.store.postgres.contact_refs import find_ref, hold_refs, home_lane
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.numbers import Numbers
from headrace.store.rows.audiences import COLUMNS, audience, changed

_GET = f"SELECT {COLUMNS} FROM audiences WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL"  # noqa: S608
# Nobody may enter while an audience is deleted.
_HOLD = f"{_GET} FOR SHARE"
LIST = (
    f"SELECT {COLUMNS} FROM audiences WHERE project_id = $1 AND deleted_us IS NULL "  # noqa: S608
    "AND created_us < $2 ORDER BY created_us DESC LIMIT $3"
)
# Audiences are kept in one place, memberships in the lanes of the contacts: so these are two.
_MEMBERSHIPS = "SELECT audience_id FROM audience_members WHERE lane = $1 AND contact_id = $2"
_OF_CONTACT = (
    f"SELECT {COLUMNS} FROM audiences WHERE project_id = $1 AND deleted_us IS NULL "  # noqa: S608
    "AND id = ANY($2) ORDER BY name"
)
_INSERT = f"INSERT INTO audiences ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)"  # noqa: S608
_TAKEN = "SELECT id FROM audiences WHERE project_id = $1 AND name = $2 AND deleted_us IS NULL"
_COUNT = (
    "SELECT count(*), coalesce(max(created_us), 0) FROM audiences "
    "WHERE project_id = $1 AND deleted_us IS NULL"
)
# Names and numbers of a project are given out by one at a time.
_LOCK = "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE"
_UPDATE = "UPDATE audiences SET name = $1, description = $2, updated_us = $3 WHERE id = $4"
_DELETE = (
    "UPDATE audiences SET deleted_us = $3 WHERE id = $1 AND project_id = $2 "
    "AND deleted_us IS NULL RETURNING id"
)
_DELETED = (
    f"SELECT {COLUMNS} FROM audiences WHERE deleted_us IS NOT NULL "  # noqa: S608
    "ORDER BY deleted_us LIMIT 1"
)
_AFTER_ALL = 2**62


class PostgresAudiences:
    """See `headrace.store.contract_audiences.AudienceStore`."""

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers

    async def create(self, project_id: int, fields: AudienceFields, now_us: int) -> Audience:
        async def work(connection: Connection) -> Audience:
            await connection.execute(_LOCK, project_id)
            await _refuse_taken(connection, project_id, fields.name, None)
            count, newest_us = await connection.fetchrow(_COUNT, project_id)
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
            await connection.execute(_INSERT, *(getattr(made, n) for n in COLUMNS.split(", ")))
            return made

        return await self._database.write(work)

    async def get(self, project_id: int, audience_id: str) -> Audience | None:
        return await self._database.read(
            lambda connection: find_audience(connection, project_id, audience_id)
        )

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Audience]:
        below = _AFTER_ALL if before is None else before

        async def read(connection: Connection) -> Sequence[Audience]:
            return [audience(row) for row in await connection.fetch(LIST, project_id, below, limit)]

        return await self._database.read(read)

    async def of_contact(self, project_id: int, contact_id: str) -> Sequence[Audience]:
        async def read(connection: Connection) -> Sequence[Audience]:
            contact = await find_ref(connection, project_id, contact_id)
            if contact is None:
                return []
            rows = await connection.fetch(_MEMBERSHIPS, home_lane(contact), contact.id)
            ids = [row[0] for row in rows]
            return [audience(row) for row in await connection.fetch(_OF_CONTACT, project_id, ids)]

        return await self._database.read(read)

    async def update(
        self, project_id: int, audience_id: str, fields: AudienceFields, now_us: int
    ) -> Audience | None:
        async def work(connection: Connection) -> Audience | None:
            await connection.execute(_LOCK, project_id)
            held = await find_audience(connection, project_id, audience_id)
            if held is None or not changed(held, fields):
                return held
            await _refuse_taken(connection, project_id, fields.name, audience_id)
            values = {"name": held.name, "description": held.description} | changed(held, fields)
            updated_us = max(now_us, held.updated_us)
            await connection.execute(_UPDATE, *values.values(), updated_us, audience_id)
            return await find_audience(connection, project_id, audience_id)

        return await self._database.write(work)

    async def delete(self, project_id: int, audience_id: str, now_us: int) -> bool:
        async def work(connection: Connection) -> bool:
            return await connection.fetchval(_DELETE, audience_id, project_id, now_us) is not None

        return await self._database.write(work)

    async def remove_deleted(self, limit: int, now_us: int) -> bool:
        async def work(connection: Connection) -> bool:
            row = await connection.fetchrow(_DELETED)
            if row is None:
                return False
            deleted = audience(row)
            found = await audience_members.empty(connection, self._numbers, deleted, limit, now_us)
            if found < limit:
                await connection.execute("DELETE FROM audiences WHERE id = $1", deleted.id)
            return await connection.fetchrow(_DELETED) is not None

        return await self._database.write(work)

    async def enter(
        self, project_id: int, audience_id: str, contact_ids: Sequence[str], now_us: int
    ) -> Entered | None:
        async def work(connection: Connection) -> Entered | None:
            found = await hold_refs(connection, project_id, contact_ids)
            row = await connection.fetchrow(_HOLD, audience_id, project_id)
            if row is None:
                return None
            unknown = [place for place, each in enumerate(contact_ids) if each not in found]
            if unknown:
                raise UnknownContactsError(unknown)
            contacts = {found[each].id: found[each] for each in contact_ids}
            entered = await audience_members.enter(
                connection, self._numbers, audience(row), list(contacts.values()), now_us
            )
            return Entered(entered, len(contacts) - entered)

        return await self._database.write(work)

    async def exit(self, project_id: int, audience_id: str, contact_id: str, now_us: int) -> bool:
        async def work(connection: Connection) -> bool:
            held = await find_audience(connection, project_id, audience_id)
            contact = await find_ref(connection, project_id, contact_id)
            if held is None or contact is None:
                return False
            return await audience_members.leave(connection, self._numbers, held, contact, now_us)

        return await self._database.write(work)


async def find_audience(
    connection: Connection, project_id: int, audience_id: str
) -> Audience | None:
    """One audience that is not deleted."""
    row = await connection.fetchrow(_GET, audience_id, project_id)
    return None if row is None else audience(row)


async def _refuse_taken(
    connection: Connection, project_id: int, name: str | None, own_id: str | None
) -> None:
    holder = await connection.fetchval(_TAKEN, project_id, name)
    if holder not in (None, own_id):
        raise StoreConflictError("name")
