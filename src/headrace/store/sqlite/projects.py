"""Projects, keys and policies in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apsw
import msgspec

from headrace.domain.api_keys import ApiKey, Scope
from headrace.domain.ids import new_uuid
from headrace.domain.policies import Policies, check_policy
from headrace.store.contract import Access, Project, StoreConflictError
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

T = TypeVar("T")

_KEY_COLUMNS = (
    "public_id, project_id, secret_hash, scopes, name, created_us, expires_us, revoked_us"
)


def _key(row: Sequence[Any]) -> ApiKey:
    public_id, project_id, secret_hash, scopes, name, created_us, expires_us, revoked_us = row
    return ApiKey(
        public_id=public_id,
        project_id=project_id,
        secret_hash=secret_hash,
        scopes=frozenset(Scope(scope) for scope in scopes.split()),
        name=name,
        created_us=created_us,
        expires_us=expires_us,
        revoked_us=revoked_us,
    )


class SqliteProjects:
    """See `headrace.store.contract.ProjectStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(self, name: str, now_us: int, *, actor: str) -> Project:
        uuid = new_uuid()

        def work(connection: apsw.Connection) -> Project:
            try:
                connection.execute(
                    "INSERT INTO projects (uuid, name, created_us) VALUES (?, ?, ?)",
                    (uuid, name, now_us),
                )
            except apsw.ConstraintError:
                field = "name"
                raise StoreConflictError(field) from None
            project_id = connection.last_insert_rowid()
            _audit(connection, now_us, actor, project_id, "project.create", {"name": name})
            return Project(id=project_id, uuid=uuid, name=name, created_us=now_us)

        return await self._change(work)

    async def list(self) -> Sequence[Project]:
        def read(connection: apsw.Connection) -> Sequence[Project]:
            rows = connection.execute(
                "SELECT id, uuid, name, created_us FROM projects ORDER BY name"
            )
            return [Project(id=i, uuid=u, name=n, created_us=c) for i, u, n, c in rows]

        return await self._readers.run(read)

    async def add_key(self, key: ApiKey, *, actor: str) -> None:
        scopes = " ".join(sorted(key.scopes))
        values = (
            key.public_id,
            key.project_id,
            key.secret_hash,
            scopes,
            key.name,
            key.created_us,
            key.expires_us,
            key.revoked_us,
        )

        def work(connection: apsw.Connection) -> None:
            connection.execute(
                f"INSERT INTO api_keys ({_KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                values,
            )
            detail = {"key": key.public_id, "scopes": scopes, "name": key.name}
            _audit(connection, key.created_us, actor, key.project_id, "key.create", detail)

        await self._change(work)

    async def list_keys(self, project_id: int) -> Sequence[ApiKey]:
        sql = f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE project_id = ? ORDER BY created_us DESC"  # noqa: S608

        def read(connection: apsw.Connection) -> Sequence[ApiKey]:
            return [_key(row) for row in connection.execute(sql, (project_id,))]

        return await self._readers.run(read)

    async def revoke_key(self, public_id: str, now_us: int, *, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(
                "UPDATE api_keys SET revoked_us = ? WHERE public_id = ? AND revoked_us IS NULL "
                "RETURNING project_id",
                (now_us, public_id),
            ).fetchone()
            if row is None:
                return False
            _audit(connection, now_us, actor, row[0], "key.revoke", {"key": public_id})
            return True

        return await self._change(work)

    async def set_policy(
        self, project_id: int, name: str, value: Any, now_us: int, *, actor: str
    ) -> Any:
        def work(connection: apsw.Connection) -> Any:
            before = getattr(read_policies(connection, project_id), name)
            connection.execute(
                "INSERT INTO policies (project_id, name, value) VALUES (?, ?, ?) "
                "ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value",
                (project_id, name, msgspec.json.encode(value).decode()),
            )
            detail = {"policy": name, "from": before, "to": value}
            _audit(connection, now_us, actor, project_id, "policy.set", detail)
            return before

        return await self._change(work)

    async def access_version(self) -> int:
        return await self._readers.run(_version)

    async def access(self) -> Access:
        def read(connection: apsw.Connection) -> Access:
            keys = [_key(row) for row in connection.execute(f"SELECT {_KEY_COLUMNS} FROM api_keys")]  # noqa: S608
            projects: list[Any] = connection.execute("SELECT id FROM projects").fetchall()
            return Access(
                version=_version(connection),
                keys={key.public_id: key for key in keys},
                policies={row[0]: read_policies(connection, row[0]) for row in projects},
            )

        return await self._readers.run(read)

    async def _change(self, work: Callable[[apsw.Connection], T]) -> T:
        def counted(connection: apsw.Connection) -> T:
            result = work(connection)
            bump_access_version(connection)
            return result

        return await self._writer.run(counted)


def bump_access_version(connection: apsw.Connection) -> None:
    """Tell every process that keys or policies have changed."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES ('access_version', 1) "
        "ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )


def _version(connection: apsw.Connection) -> int:
    row = connection.execute("SELECT value FROM meta WHERE name = 'access_version'").fetchone()
    return 0 if row is None else int(row[0])


def read_policies(connection: apsw.Connection, project_id: int) -> Policies:
    """Policies of a project; those it did not change are at their defaults."""
    rows = connection.execute(
        "SELECT name, value FROM policies WHERE project_id = ?", (project_id,)
    )
    stored = {name: msgspec.json.decode(value) for name, value in rows}
    return Policies(**{name: check_policy(name, value) for name, value in stored.items()})


def _audit(
    connection: apsw.Connection,
    at_us: int,
    actor: str,
    project_id: int,
    action: str,
    detail: dict[str, Any],
) -> None:
    connection.execute(
        "INSERT INTO audit (at_us, actor, project_id, action, detail) VALUES (?, ?, ?, ?, ?)",
        (at_us, actor, project_id, action, msgspec.json.encode(detail).decode()),
    )
