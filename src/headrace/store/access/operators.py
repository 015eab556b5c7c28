"""Operators, and what they change through the operator API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.domain.access.operators import Operator
from headrace.domain.access.policies import DEFAULTS, Policies
from headrace.domain.messages.policy_values import SENDING_POLICIES
from headrace.store.access.audit import prune_audit, read_audit, write_audit
from headrace.store.access.policies import (
    bump_access_version,
    read_policies,
    reset_policy,
    write_policy,
)
from headrace.store.access.sending_policies import read_sending_values
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.operators import OPERATORS_MAX, AuditEntry
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

_COLUMNS = "id, email, token_hash, created_us, revoked_us, is_owner"
_ADD = sql(f"INSERT INTO operators ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)")
# Addresses are sorted byte by byte, whatever the language of the database.
_LIST = sql(f'SELECT {_COLUMNS} FROM operators ORDER BY email COLLATE "C" LIMIT {OPERATORS_MAX}')
_COUNT = sql("SELECT count(*), count(*) FILTER (WHERE email = $1) FROM operators")
_REPLACE = sql("UPDATE operators SET id = $1, token_hash = $2, revoked_us = NULL WHERE email = $3")
_PROJECT = sql("SELECT id FROM projects WHERE uuid = $1")
_FIND_TEXT = "SELECT is_owner FROM operators WHERE email = $1 AND revoked_us IS NULL"
#: Finds the operator of an address who is not revoked.
FIND = sql(_FIND_TEXT)
#: Locks the operator, so that a concurrent removal leaves no rows behind.
HOLD = sql(f"{_FIND_TEXT} FOR SHARE")
# SQLite has one writer, so there is nothing to lock.
_LOCK = sql("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE", sqlite="SELECT 1")


class Operators:
    """Operators and what they change; every change is audited in its transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, operator: Operator, *, actor: str) -> None:
        """Store a new operator.

        Raises:
            StoreConflictError: `email` when the address is taken, `operators` when there are
            `OPERATORS_MAX`.
        """

        async def work(tx: Transaction) -> None:
            await lock_operators(tx)
            count, same = await tx.row(_COUNT, operator.email) or (0, 0)
            if same or count >= OPERATORS_MAX:
                field = "email" if same else "operators"
                raise StoreConflictError(field)
            await tx.run(_ADD, *msgspec.structs.astuple(operator))
            await _note(tx, operator, actor, "operator.create")

        await self._database.write(work)

    async def replace_token(self, operator: Operator, *, actor: str) -> bool:
        """Replace the token of the operator with that address; the old one stops working.

        False when there is no such operator.
        """

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_REPLACE, operator.id, operator.token_hash, operator.email):
                return False
            await _note(tx, operator, actor, "operator.reset_token")
            return True

        return await self._database.write(work)

    async def list(self) -> Sequence[Operator]:
        """All operators by address."""
        return [
            Operator(id=i, email=e, token_hash=h, created_us=c, revoked_us=r, is_owner=bool(o))
            for i, e, h, c, r, o in await self._database.read(lambda tx: tx.rows(_LIST))
        ]

    async def policies(self, project_uuid: bytes) -> tuple[int, Policies] | None:
        """Number and policies of a project, None when there is none with that id."""

        async def read(tx: Transaction) -> tuple[int, Policies] | None:
            found = await tx.value(_PROJECT, project_uuid)
            return None if found is None else (found, await read_policies(tx, found))

        return await self._database.read(read)

    async def set_policies(
        self, project_id: int, values: Mapping[str, Any], now_us: int, *, actor: str
    ) -> Policies:
        """Set checked values, all in one transaction; None resets one to its default.

        Those that concern messages are given as JSON has them. What really changes is audited, an
        entry each. Returns the other policies as they are then.
        """

        async def work(tx: Transaction) -> Policies:
            await bump_access_version(tx)
            before = msgspec.structs.asdict(await read_policies(tx, project_id))
            before |= await read_sending_values(tx, project_id)
            for name, value in values.items():
                if value is None:
                    await reset_policy(tx, project_id, name)
                else:
                    await write_policy(tx, project_id, name, value)
                held = before[name]
                wanted = _default(name) if value is None else value
                if wanted != held:
                    detail = {"policy": name, "from": held, "to": wanted}
                    await write_audit(tx, now_us, actor, project_id, "policy.set", detail)
            return await read_policies(tx, project_id)

        return await self._database.write(work)

    async def audit(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[AuditEntry]:
        """Entries about a project, newest first, below id `before`."""
        return await self._database.read(lambda tx: read_audit(tx, project_id, before, limit))

    async def prune_audit(self, now_us: int, limit: int) -> int:
        """Remove expired entries, at most `limit` of a project; returns how many."""
        return await self._database.write(lambda tx: prune_audit(tx, now_us, limit))


def _default(name: str) -> Any:
    if name in SENDING_POLICIES:
        return SENDING_POLICIES[name].default
    return getattr(DEFAULTS, name)


async def lock_operators(tx: Transaction) -> None:
    """Serialize transactions that count operators."""
    await tx.run(_LOCK)


async def _note(tx: Transaction, operator: Operator, actor: str, action: str) -> None:
    detail = {"operator": operator.id, "email": operator.email}
    await write_audit(tx, operator.created_us, actor, None, action, detail)
