"""Audiences in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.audiences import AUDIENCES_MAX, Audience, AudienceFields, Entered
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contract import StoreConflictError
from headrace.store.contract_audiences import TooManyAudiencesError, UnknownContactsError
from headrace.store.rows.audiences import COLUMNS, audience, changed
from headrace.store.sqlite import audience_members
from headrace.store.sqlite.contact_refs import find_ref, find_refs
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_GET = f"SELECT {COLUMNS} FROM audiences WHERE id = ? AND project_id = ? AND deleted_us IS NULL"  # noqa: S608
_LIST = (
    f"SELECT {COLUMNS} FROM audiences WHERE project_id = ? AND deleted_us IS NULL "  # noqa: S608
    "AND created_us < ? ORDER BY created_us DESC LIMIT ?"
)
_OF_CONTACT = (
    f"SELECT {COLUMNS} FROM audiences WHERE project_id = ? AND deleted_us IS NULL AND id IN "  # noqa: S608
    "(SELECT audience_id FROM audience_members WHERE contact_number = ?) ORDER BY name"
)
_INSERT = f"INSERT INTO audiences ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
_TAKEN = "SELECT id FROM audiences WHERE project_id = ? AND name = ? AND deleted_us IS NULL"
_COUNT = (
    "SELECT count(*), coalesce(max(created_us), 0) FROM audiences "
    "WHERE project_id = ? AND deleted_us IS NULL"
)
_UPDATE = "UPDATE audiences SET name = ?, description = ?, updated_us = ? WHERE id = ?"
_DELETED = (
    f"SELECT {COLUMNS} FROM audiences WHERE deleted_us IS NOT NULL "  # noqa: S608
    "ORDER BY deleted_us LIMIT 1"
)
_AFTER_ALL = 2**62


class SqliteAudiences:
    """See `headrace.store.contract_audiences.AudienceStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(self, project_id: int, fields: AudienceFields, now_us: int) -> Audience:
        return await self._writer.run(
            lambda connection: _create(connection, project_id, fields, now_us)
        )

    async def get(self, project_id: int, audience_id: str) -> Audience | None:
        return await self._readers.run(
            lambda connection: find_audience(connection, project_id, audience_id)
        )

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Audience]:
        values = (project_id, _AFTER_ALL if before is None else before, limit)
        return await self._readers.run(
            lambda connection: [audience(row) for row in connection.execute(_LIST, values)]
        )

    async def of_contact(self, project_id: int, contact_id: str) -> Sequence[Audience]:
        def read(connection: apsw.Connection) -> Sequence[Audience]:
            contact = find_ref(connection, project_id, contact_id)
            if contact is None:
                return []
            values = (project_id, contact.number)
            return [audience(row) for row in connection.execute(_OF_CONTACT, values)]

        return await self._readers.run(read)

    async def update(
        self, project_id: int, audience_id: str, fields: AudienceFields, now_us: int
    ) -> Audience | None:
        def work(connection: apsw.Connection) -> Audience | None:
            held = find_audience(connection, project_id, audience_id)
            if held is None or not changed(held, fields):
                return held
            _refuse_taken(connection, project_id, fields.name, audience_id)
            values = {"name": held.name, "description": held.description} | changed(held, fields)
            updated_us = max(now_us, held.updated_us)
            connection.execute(_UPDATE, (*values.values(), updated_us, audience_id))
            return find_audience(connection, project_id, audience_id)

        return await self._writer.run(work)

    async def delete(self, project_id: int, audience_id: str, now_us: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if find_audience(connection, project_id, audience_id) is None:
                return False
            connection.execute(
                "UPDATE audiences SET deleted_us = ? WHERE id = ?", (now_us, audience_id)
            )
            return True

        return await self._writer.run(work)

    async def remove_deleted(self, limit: int, now_us: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row: Any = connection.execute(_DELETED).fetchone()
            if row is None:
                return False
            deleted = audience(row)
            if audience_members.empty(connection, deleted, limit, now_us) < limit:
                connection.execute("DELETE FROM audiences WHERE id = ?", (deleted.id,))
            return connection.execute(_DELETED).fetchone() is not None

        # Nearly always there is nothing: then the write lock is left alone.
        if not await self._readers.run(lambda c: c.execute(_DELETED).fetchall()):
            return False
        return await self._writer.run(work)

    async def enter(
        self, project_id: int, audience_id: str, contact_ids: Sequence[str], now_us: int
    ) -> Entered | None:
        def work(connection: apsw.Connection) -> Entered | None:
            held = find_audience(connection, project_id, audience_id)
            if held is None:
                return None
            found = find_refs(connection, project_id, contact_ids)
            unknown = [place for place, each in enumerate(contact_ids) if each not in found]
            if unknown:
                raise UnknownContactsError(unknown)
            contacts = {found[each].number: found[each] for each in contact_ids}
            entered = audience_members.enter(connection, held, list(contacts.values()), now_us)
            return Entered(entered, len(contacts) - entered)

        return await self._writer.run(work)

    async def exit(self, project_id: int, audience_id: str, contact_id: str, now_us: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            held = find_audience(connection, project_id, audience_id)
            contact = find_ref(connection, project_id, contact_id)
            if held is None or contact is None:
                return False
            return audience_members.leave(connection, held, contact, now_us)

        return await self._writer.run(work)


def find_audience(
    connection: apsw.Connection, project_id: int, audience_id: str
) -> Audience | None:
    """One audience that is not deleted."""
    row: Any = connection.execute(_GET, (audience_id, project_id)).fetchone()
    return None if row is None else audience(row)


def _create(
    connection: apsw.Connection, project_id: int, fields: AudienceFields, now_us: int
) -> Audience:
    _refuse_taken(connection, project_id, fields.name, None)
    row: Any = connection.execute(_COUNT, (project_id,)).fetchone()
    count, newest_us = row
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
    connection.execute(_INSERT, [getattr(made, name) for name in COLUMNS.split(", ")])
    return made


def _refuse_taken(
    connection: apsw.Connection, project_id: int, name: str | None, own_id: str | None
) -> None:
    row: Any = connection.execute(_TAKEN, (project_id, name)).fetchone()
    if row is not None and row[0] != own_id:
        raise StoreConflictError("name")
