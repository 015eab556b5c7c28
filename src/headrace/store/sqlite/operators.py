"""Operators, policies and the audit in the embedded store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.operators import Operator
from headrace.domain.policies import DEFAULTS, Policies
from headrace.store.access.audit import prune_audit, write_audit
from headrace.store.access.policies import bump_access_version, read_policies
from headrace.store.contract import StoreConflictError
from headrace.store.contract_operators import OPERATORS_MAX, AuditEntry
from headrace.store.engine.transaction import drive
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

_COLUMNS = "id, email, token_hash, created_us, revoked_us, is_owner"
_LIST = f"SELECT {_COLUMNS} FROM operators ORDER BY email LIMIT {OPERATORS_MAX}"  # noqa: S608
_AUDIT = (
    "SELECT id, at_us, actor, action, detail FROM audit "
    "WHERE project_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
)
_AFTER_ALL = 1 << 62


class SqliteOperators:
    """See `headrace.store.contract_operators.OperatorStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, operator: Operator, *, actor: str) -> None:
        values = msgspec.structs.astuple(operator)

        def work(connection: apsw.Connection) -> None:
            there: Any = connection.execute(
                "SELECT count(*), coalesce(sum(email = ?), 0) FROM operators", (operator.email,)
            ).fetchone()
            if there[1] or there[0] >= OPERATORS_MAX:
                field = "email" if there[1] else "operators"
                raise StoreConflictError(field)
            sql = f"INSERT INTO operators ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
            connection.execute(sql, values)
            detail = {"operator": operator.id, "email": operator.email}
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    operator.created_us,
                    actor,
                    None,
                    "operator.create",
                    detail,
                )
            )

        await self._writer.run(work)

    async def replace_token(self, operator: Operator, *, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(
                "UPDATE operators SET id = ?, token_hash = ?, revoked_us = NULL WHERE email = ? "
                "RETURNING 1",
                (operator.id, operator.token_hash, operator.email),
            ).fetchone()
            if row is None:
                return False
            detail = {"operator": operator.id, "email": operator.email}
            at_us = operator.created_us
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    at_us,
                    actor,
                    None,
                    "operator.reset_token",
                    detail,
                )
            )
            return True

        return await self._writer.run(work)

    async def list(self) -> Sequence[Operator]:
        def read(connection: apsw.Connection) -> Sequence[Operator]:
            return [
                Operator(id=i, email=e, token_hash=h, created_us=c, revoked_us=r, is_owner=bool(o))
                for i, e, h, c, r, o in connection.execute(_LIST)
            ]

        return await self._readers.run(read)

    async def policies(self, project_uuid: bytes) -> tuple[int, Policies] | None:
        def read(connection: apsw.Connection) -> tuple[int, Policies] | None:
            row: Any = connection.execute(
                "SELECT id FROM projects WHERE uuid = ?", (project_uuid,)
            ).fetchone()
            return (
                None
                if row is None
                else (row[0], drive(read_policies(SqliteTransaction(connection), row[0])))
            )

        return await self._readers.run(read)

    async def set_policies(
        self, project_id: int, values: Mapping[str, Any], now_us: int, *, actor: str
    ) -> Policies:
        def work(connection: apsw.Connection) -> Policies:
            before = drive(read_policies(SqliteTransaction(connection), project_id))
            for name, value in values.items():
                _store(connection, project_id, name, value)
                held = getattr(before, name)
                wanted = getattr(DEFAULTS, name) if value is None else value
                if wanted != held:
                    detail = {"policy": name, "from": held, "to": wanted}
                    drive(
                        write_audit(
                            SqliteTransaction(connection),
                            now_us,
                            actor,
                            project_id,
                            "policy.set",
                            detail,
                        )
                    )
            drive(bump_access_version(SqliteTransaction(connection)))
            return drive(read_policies(SqliteTransaction(connection), project_id))

        return await self._writer.run(work)

    async def audit(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[AuditEntry]:
        values = (project_id, _AFTER_ALL if before is None else before, limit)

        def read(connection: apsw.Connection) -> Sequence[AuditEntry]:
            return [
                AuditEntry(id=i, at_us=at, actor=actor, action=action, detail=detail)
                for i, at, actor, action, detail in connection.execute(_AUDIT, values)
            ]

        return await self._readers.run(read)

    async def prune_audit(self, now_us: int, limit: int) -> int:
        return await self._writer.run(
            lambda connection: drive(prune_audit(SqliteTransaction(connection), now_us, limit))
        )


def _store(connection: apsw.Connection, project_id: int, name: str, value: Any) -> None:
    if value is None:
        connection.execute(
            "DELETE FROM policies WHERE project_id = ? AND name = ?", (project_id, name)
        )
        return
    connection.execute(
        "INSERT INTO policies (project_id, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value",
        (project_id, name, msgspec.json.encode(value).decode()),
    )
