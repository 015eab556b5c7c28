"""Projects, keys and policies in PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from headrace.domain.api_keys import ApiKey
from headrace.domain.ids import new_uuid
from headrace.domain.policies import Policies
from headrace.store.contract import Access, Project, StoreConflictError
from headrace.store.postgres.audit import write_audit
from headrace.store.postgres.database import Connection, Database
from headrace.store.rows.access import KEY_COLUMNS, api_key, key_values, policies_of

T = TypeVar("T")

_INSERT_PROJECT = (
    "INSERT INTO projects (uuid, name, created_us) VALUES ($1, $2, $3) "
    "ON CONFLICT (name) DO NOTHING RETURNING id"
)
# By code points, as the embedded store sorts, whatever the language of the database.
_LIST_PROJECTS = 'SELECT id, uuid, name, created_us FROM projects ORDER BY name COLLATE "C"'
_INSERT_KEY = f"INSERT INTO api_keys ({KEY_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"  # noqa: S608
_LIST_KEYS = f"SELECT {KEY_COLUMNS} FROM api_keys WHERE project_id = $1 ORDER BY created_us DESC"  # noqa: S608
_ALL_KEYS = f"SELECT {KEY_COLUMNS} FROM api_keys"  # noqa: S608
_REVOKE_KEY = (
    "UPDATE api_keys SET revoked_us = $1 WHERE public_id = $2 AND revoked_us IS NULL "
    "RETURNING project_id"
)
_SET_POLICY = (
    "INSERT INTO policies (project_id, name, value) VALUES ($1, $2, $3) "
    "ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value"
)
_BUMP_VERSION = (
    "INSERT INTO meta (name, value) VALUES ('access_version', '1') "
    "ON CONFLICT (name) DO UPDATE SET value = (meta.value::bigint + 1)::text"
)


class PostgresProjects:
    """See `headrace.store.contract.ProjectStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, now_us: int, *, actor: str) -> Project:
        uuid = new_uuid()

        async def work(connection: Connection) -> Project:
            project_id = await connection.fetchval(_INSERT_PROJECT, uuid, name, now_us)
            if project_id is None:
                field = "name"
                raise StoreConflictError(field)
            await write_audit(
                connection, now_us, actor, project_id, "project.create", {"name": name}
            )
            return Project(id=project_id, uuid=uuid, name=name, created_us=now_us)

        return await self._change(work)

    async def list(self) -> Sequence[Project]:
        rows = await self._database.read(lambda connection: connection.fetch(_LIST_PROJECTS))
        return [Project(id=i, uuid=u, name=n, created_us=c) for i, u, n, c in rows]

    async def add_key(self, key: ApiKey, *, actor: str) -> None:
        values = key_values(key)

        async def work(connection: Connection) -> None:
            await connection.execute(_INSERT_KEY, *values)
            detail = {"key": key.public_id, "scopes": values[3], "name": key.name}
            await write_audit(
                connection, key.created_us, actor, key.project_id, "key.create", detail
            )

        await self._change(work)

    async def list_keys(self, project_id: int) -> Sequence[ApiKey]:
        rows = await self._database.read(
            lambda connection: connection.fetch(_LIST_KEYS, project_id)
        )
        return [api_key(row) for row in rows]

    async def revoke_key(self, public_id: str, now_us: int, *, actor: str) -> bool:
        async def work(connection: Connection) -> bool:
            project_id = await connection.fetchval(_REVOKE_KEY, now_us, public_id)
            if project_id is None:
                return False
            detail = {"key": public_id}
            await write_audit(connection, now_us, actor, project_id, "key.revoke", detail)
            return True

        return await self._change(work)

    async def set_policy(
        self, project_id: int, name: str, value: Any, now_us: int, *, actor: str
    ) -> Any:
        async def work(connection: Connection) -> Any:
            before = getattr(await read_policies(connection, project_id), name)
            text = msgspec.json.encode(value).decode()
            await connection.execute(_SET_POLICY, project_id, name, text)
            detail = {"policy": name, "from": before, "to": value}
            await write_audit(connection, now_us, actor, project_id, "policy.set", detail)
            return before

        return await self._change(work)

    async def access_version(self) -> int:
        return await self._database.read(_version)

    async def access(self) -> Access:
        async def read(connection: Connection) -> Access:
            # First the version: a change in between is read again, never missed.
            version = await _version(connection)
            keys = [api_key(row) for row in await connection.fetch(_ALL_KEYS)]
            stored = defaultdict(list)
            for project_id, *policy in await connection.fetch(
                "SELECT project_id, name, value FROM policies"
            ):
                stored[project_id].append(tuple(policy))
            projects = await connection.fetch("SELECT id FROM projects")
            return Access(
                version=version,
                keys={key.public_id: key for key in keys},
                policies={row[0]: policies_of(stored[row[0]]) for row in projects},
            )

        return await self._database.read(read, snapshot=True)

    async def _change(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def counted(connection: Connection) -> T:
            # The row of the version is locked first, so changes come one after the other and none
            # overwrites what it has not seen.
            await bump_access_version(connection)
            return await work(connection)

        return await self._database.write(counted)


async def bump_access_version(connection: Connection) -> None:
    """Tell every process that keys or policies have changed."""
    await connection.execute(_BUMP_VERSION)


async def _version(connection: Connection) -> int:
    return int(
        await connection.fetchval("SELECT value FROM meta WHERE name = 'access_version'") or 0
    )


async def read_policies(connection: Connection, project_id: int) -> Policies:
    """Policies of a project; those it did not change are at their defaults."""
    rows = await connection.fetch(
        "SELECT name, value FROM policies WHERE project_id = $1", project_id
    )
    return policies_of((name, value) for name, value in rows)
