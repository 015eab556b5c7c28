"""Operators, policies and the audit on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.domain.operators import Operator
from headrace.domain.policies import DEFAULTS, Policies
from headrace.store.access.audit import prune_audit, write_audit
from headrace.store.access.policies import bump_access_version, read_policies
from headrace.store.contract import StoreConflictError
from headrace.store.contract_operators import OPERATORS_MAX, AuditEntry
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.transaction import PostgresTransaction

_COLUMNS = "id, email, token_hash, created_us, revoked_us, is_owner"
_ADD = f"INSERT INTO operators ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)"  # noqa: S608
# Addresses are sorted byte by byte, as the embedded store does, whatever the server's language.
_LIST = f'SELECT {_COLUMNS} FROM operators ORDER BY email COLLATE "C" LIMIT {OPERATORS_MAX}'  # noqa: S608
_THERE = "SELECT count(*), count(*) FILTER (WHERE email = $1) FROM operators"
_REPLACE = (
    "UPDATE operators SET id = $1, token_hash = $2, revoked_us = NULL WHERE email = $3 RETURNING 1"
)
_AUDIT = (
    "SELECT id, at_us, actor, action, detail FROM audit "
    "WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
)
_SET = (
    "INSERT INTO policies (project_id, name, value) VALUES ($1, $2, $3) "
    "ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value"
)
_AFTER_ALL = 1 << 62


class PostgresOperators:
    """See `headrace.store.contract_operators.OperatorStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, operator: Operator, *, actor: str) -> None:
        values = msgspec.structs.astuple(operator)
        detail = {"operator": operator.id, "email": operator.email}

        async def work(connection: Connection) -> None:
            # Two that add at once count one after the other.
            await connection.execute("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE")
            count, same = await connection.fetchrow(_THERE, operator.email)
            if same or count >= OPERATORS_MAX:
                field = "email" if same else "operators"
                raise StoreConflictError(field)
            await connection.execute(_ADD, *values)
            at_us = operator.created_us
            await write_audit(
                PostgresTransaction(connection), at_us, actor, None, "operator.create", detail
            )

        await self._database.write(work)

    async def replace_token(self, operator: Operator, *, actor: str) -> bool:
        values = (operator.id, operator.token_hash, operator.email)
        detail = {"operator": operator.id, "email": operator.email}

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_REPLACE, *values) is None:
                return False
            at_us = operator.created_us
            await write_audit(
                PostgresTransaction(connection), at_us, actor, None, "operator.reset_token", detail
            )
            return True

        return await self._database.write(work)

    async def list(self) -> Sequence[Operator]:
        async def read(connection: Connection) -> Sequence[Operator]:
            return [
                Operator(id=i, email=e, token_hash=h, created_us=c, revoked_us=r, is_owner=o)
                for i, e, h, c, r, o in await connection.fetch(_LIST)
            ]

        return await self._database.read(read)

    async def policies(self, project_uuid: bytes) -> tuple[int, Policies] | None:
        async def read(connection: Connection) -> tuple[int, Policies] | None:
            found = await connection.fetchval(
                "SELECT id FROM projects WHERE uuid = $1", project_uuid
            )
            return (
                None
                if found is None
                else (found, await read_policies(PostgresTransaction(connection), found))
            )

        return await self._database.read(read)

    async def set_policies(
        self, project_id: int, values: Mapping[str, Any], now_us: int, *, actor: str
    ) -> Policies:
        async def work(connection: Connection) -> Policies:
            # The audit says what was before, so two changes at once go one after the other.
            await connection.fetchval(
                "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE", project_id
            )
            before = await read_policies(PostgresTransaction(connection), project_id)
            for name, value in values.items():
                await _store(connection, project_id, name, value)
                held = getattr(before, name)
                wanted = getattr(DEFAULTS, name) if value is None else value
                if wanted != held:
                    detail = {"policy": name, "from": held, "to": wanted}
                    await write_audit(
                        PostgresTransaction(connection),
                        now_us,
                        actor,
                        project_id,
                        "policy.set",
                        detail,
                    )
            await bump_access_version(PostgresTransaction(connection))
            return await read_policies(PostgresTransaction(connection), project_id)

        return await self._database.write(work)

    async def audit(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[AuditEntry]:
        values = (project_id, _AFTER_ALL if before is None else before, limit)

        async def read(connection: Connection) -> Sequence[AuditEntry]:
            return [
                AuditEntry(id=i, at_us=at, actor=actor, action=action, detail=detail)
                for i, at, actor, action, detail in await connection.fetch(_AUDIT, *values)
            ]

        return await self._database.read(read)

    async def prune_audit(self, now_us: int, limit: int) -> int:
        async def work(connection: Connection) -> int:
            return await prune_audit(PostgresTransaction(connection), now_us, limit)

        return await self._database.write(work)


async def _store(connection: Connection, project_id: int, name: str, value: Any) -> None:
    if value is None:
        await connection.execute(
            "DELETE FROM policies WHERE project_id = $1 AND name = $2", project_id, name
        )
        return
    await connection.execute(_SET, project_id, name, msgspec.json.encode(value).decode())
