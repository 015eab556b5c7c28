"""Projects, their keys and policies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.domain.access.api_keys import ApiKey
from headrace.domain.ids import new_uuid
from headrace.domain.messages.policy_values import SENDING_POLICIES
from headrace.store.access import keys, policies
from headrace.store.access.audit import write_audit
from headrace.store.access.sending_policies import read_sending_values
from headrace.store.contract.access import Access, Project
from headrace.store.contract.errors import StoreConflictError
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, T, Transaction, Work

_INSERT = sql(
    "INSERT INTO projects (uuid, name, created_us) VALUES ($1, $2, $3) "
    "ON CONFLICT (name) DO NOTHING RETURNING id"
)
# By code points, whatever the language of the database.
_LIST = sql('SELECT id, uuid, name, created_us FROM projects ORDER BY name COLLATE "C"')
_IDS = sql("SELECT id FROM projects")
_RULES_VERSIONS = sql(
    "SELECT name, value FROM meta WHERE name IN ('access_version', 'subscribers_version')"
)
_INSERT_KEY = sql(
    f"INSERT INTO api_keys ({keys.COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)
_LIST_KEYS = sql(
    f"SELECT {keys.COLUMNS} FROM api_keys WHERE project_id = $1 ORDER BY created_us DESC"
)
_ALL_KEYS = sql(f"SELECT {keys.COLUMNS} FROM api_keys")
_REVOKE_KEY = sql(
    "UPDATE api_keys SET revoked_us = $1 WHERE public_id = $2 AND revoked_us IS NULL "
    "RETURNING project_id"
)
_ALL_POLICIES = sql("SELECT project_id, name, value FROM policies")


class Projects:
    """All projects, their keys and policies; every change is audited in its transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, now_us: int, *, actor: str) -> Project:
        """Create a project.

        Raises:
            StoreConflictError: the name is taken.
        """
        uuid = new_uuid()

        async def work(tx: Transaction) -> Project:
            project_id = await tx.value(_INSERT, uuid, name, now_us)
            if project_id is None:
                field = "name"
                raise StoreConflictError(field)
            await write_audit(tx, now_us, actor, project_id, "project.create", {"name": name})
            return Project(id=project_id, uuid=uuid, name=name, created_us=now_us)

        return await self._change(work)

    async def list(self) -> Sequence[Project]:
        """All projects by name."""
        rows = await self._database.read(lambda tx: tx.rows(_LIST))
        return [Project(id=i, uuid=u, name=n, created_us=c) for i, u, n, c in rows]

    async def add_key(self, key: ApiKey, *, actor: str) -> None:
        """Store a new key."""
        values = keys.key_values(key)

        async def work(tx: Transaction) -> None:
            await tx.run(_INSERT_KEY, *values)
            detail = {"key": key.public_id, "scopes": values[3], "name": key.name}
            if key.origins:
                detail["origins"] = values[8]
            await write_audit(tx, key.created_us, actor, key.project_id, "key.create", detail)

        await self._change(work)

    async def list_keys(self, project_id: int) -> Sequence[ApiKey]:
        """Keys of a project, newest first, revoked ones included."""
        rows = await self._database.read(lambda tx: tx.rows(_LIST_KEYS, project_id))
        return [keys.api_key(row) for row in rows]

    async def revoke_key(self, public_id: str, now_us: int, *, actor: str) -> bool:
        """Revoke a key; False when no active key has that id."""

        async def work(tx: Transaction) -> bool:
            project_id = await tx.value(_REVOKE_KEY, now_us, public_id)
            if project_id is None:
                return False
            await write_audit(tx, now_us, actor, project_id, "key.revoke", {"key": public_id})
            return True

        return await self._change(work)

    async def set_policy(
        self, project_id: int, name: str, value: Any, now_us: int, *, actor: str
    ) -> Any:
        """Set a policy to a checked value and audit it; returns the value before.

        One that concerns messages is given and returned as JSON has it.
        """
        before, _ = await self.change_policy(project_id, name, lambda _: value, now_us, actor=actor)
        return before

    async def change_policy(
        self,
        project_id: int,
        name: str,
        change: Callable[[Any], Any],
        now_us: int,
        *,
        actor: str,
    ) -> tuple[Any, Any]:
        """Make the value of a policy another, by what it is at that moment, and audit it.

        Args:
            change: gives the new value, which has to be a checked one; what it raises ends the
                transaction, and nothing is changed.

        Returns:
            The value before and the value now.
        """

        async def work(tx: Transaction) -> tuple[Any, Any]:
            if name in SENDING_POLICIES:
                before = (await read_sending_values(tx, project_id))[name]
            else:
                before = getattr(await policies.read_policies(tx, project_id), name)
            value = change(before)
            await policies.write_policy(tx, project_id, name, value)
            detail = {"policy": name, "from": before, "to": value}
            await write_audit(tx, now_us, actor, project_id, "policy.set", detail)
            return before, value

        return await self._change(work)

    async def policy_values(self, project_id: int) -> dict[str, Any]:
        """Every policy of a project by name; those that concern messages as JSON has them."""

        async def read(tx: Transaction) -> dict[str, Any]:
            values = msgspec.structs.asdict(await policies.read_policies(tx, project_id))
            return values | await read_sending_values(tx, project_id)

        return await self._database.read(read, snapshot=True)

    async def access_version(self) -> int:
        """Version of `access()`, cheap enough to poll every second."""
        return await self._database.read(policies.access_version)

    async def rules_versions(self) -> tuple[int, int]:
        """Versions of `access()` and of the subscribers, in one read."""
        rows = await self._database.read(lambda tx: tx.rows(_RULES_VERSIONS))
        found = {name: int(value) for name, value in rows}
        return found.get("access_version", 0), found.get("subscribers_version", 0)

    async def access(self) -> Access:
        """Everything that authentication needs, from one snapshot."""

        async def read(tx: Transaction) -> Access:
            version = await policies.access_version(tx)
            all_keys = [keys.api_key(row) for row in await tx.rows(_ALL_KEYS)]
            stored = defaultdict[int, list[Row]](list)
            for project_id, *policy in await tx.rows(_ALL_POLICIES):
                stored[project_id].append(policy)
            return Access(
                version=version,
                keys={key.public_id: key for key in all_keys},
                policies={
                    project_id: policies.policies_of(stored[project_id])
                    for (project_id,) in await tx.rows(_IDS)
                },
            )

        return await self._database.read(read, snapshot=True)

    async def _change(self, work: Work[T]) -> T:
        async def counted(tx: Transaction) -> T:
            await policies.bump_access_version(tx)
            return await work(tx)

        return await self._database.write(counted)
