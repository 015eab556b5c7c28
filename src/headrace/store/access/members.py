"""Operators, their roles, the audit log and last uses of keys."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from headrace.domain.access.sign_in import Role
from headrace.store.access.audit import find_audit, write_audit
from headrace.store.access.keys import note_uses, read_uses
from headrace.store.access.operators import HOLD, lock_operators
from headrace.store.access.sign_in import session_limits_us
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.operators import OPERATORS_MAX
from headrace.store.contract.sign_in import MEMBERS_MAX, Account, AuditFilter, AuditRow, Member
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction

# Addresses are sorted byte by byte, whatever the language of the database.
ACCOUNTS = sql(
    "SELECT email, is_owner, password_hash IS NOT NULL, created_us, "
    "(SELECT max(seen_us) FROM sessions s "
    "WHERE s.email = o.email AND s.seen_us > $1 AND s.created_us > $2), "
    "(SELECT count(*) FROM members m WHERE m.email = o.email) "
    f'FROM operators o WHERE revoked_us IS NULL ORDER BY email COLLATE "C" LIMIT {OPERATORS_MAX}'
)
_OTHER_OWNERS = sql(
    "SELECT count(*) FROM operators WHERE is_owner AND revoked_us IS NULL AND email <> $1"
)
_COUNT = sql(
    "SELECT count(*), count(*) FILTER (WHERE email = $1), "
    "count(*) FILTER (WHERE email = $1 AND revoked_us IS NULL) FROM operators"
)
_INVITE = sql(
    "INSERT INTO operators (id, email, token_hash, created_us, is_owner) "
    "VALUES ($1, $2, $3, $4, $5) "
    "ON CONFLICT (email) DO UPDATE SET id = excluded.id, token_hash = excluded.token_hash, "
    "is_owner = excluded.is_owner, password_hash = NULL, revoked_us = NULL"
)
_SET_OWNER = sql(
    "UPDATE operators SET is_owner = $1 WHERE email = $2 AND revoked_us IS NULL AND is_owner <> $1"
)
_REVOKE = sql(
    "UPDATE operators SET revoked_us = $1, password_hash = NULL, is_owner = false "
    "WHERE email = $2 AND revoked_us IS NULL"
)
_FORGET = tuple(
    sql(f"DELETE FROM {table} WHERE email = $1")
    for table in ("sessions", "sign_in_links", "members")
)
MEMBERS = sql(
    'SELECT email, role, added_us FROM members WHERE project_id = $1 ORDER BY email COLLATE "C"'
)
# Serializes counting the members of a project.
_LOCK_PROJECT = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
_ROLE = sql("SELECT role FROM members WHERE project_id = $1 AND email = $2")
_COUNT_MEMBERS = sql("SELECT count(*) FROM members WHERE project_id = $1")
_SET = sql(
    "INSERT INTO members (project_id, email, role, added_us) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (project_id, email) DO UPDATE SET role = excluded.role"
)
_REMOVE = sql("DELETE FROM members WHERE project_id = $1 AND email = $2")


class Members:
    """Operators and their roles; every change is audited in its transaction.

    Operators are identified by their normalized address.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accounts(self, now_us: int) -> Sequence[Account]:
        """All operators that are not revoked, by address."""
        limits = session_limits_us(now_us)
        rows = await self._database.read(lambda tx: tx.rows(ACCOUNTS, *limits))
        return [_account(row) for row in rows]

    async def invite(
        self, email: str, token_hash: bytes, now_us: int, *, is_owner: bool, actor: str
    ) -> bool:
        """Add an operator without token and password; False when there is one.

        A revoked one is restored, with neither of the two.

        Raises:
            StoreConflictError: `operators` when there are too many.
        """
        operator_id = secrets.token_hex(8)

        async def work(tx: Transaction) -> bool:
            await lock_operators(tx)
            count, same, active = await tx.row(_COUNT, email) or (0, 0, 0)
            if active:
                return False
            if not same and count >= OPERATORS_MAX:
                field = "operators"
                raise StoreConflictError(field)
            await tx.run(_INVITE, operator_id, email, token_hash, now_us, is_owner)
            detail = {"email": email, "is_owner": is_owner}
            await write_audit(tx, now_us, actor, None, "operator.create", detail)
            return True

        return await self._database.write(work)

    async def set_owner(self, email: str, now_us: int, *, is_owner: bool, actor: str) -> bool:
        """Make an operator an owner of the instance, or take that role away.

        Raises:
            StoreConflictError: `last_owner`.
        """

        async def work(tx: Transaction) -> bool:
            if not is_owner:
                await _keep_an_owner(tx, email)
            if not await tx.run(_SET_OWNER, is_owner, email):
                return False
            detail = {"email": email, "is_owner": is_owner}
            await write_audit(tx, now_us, actor, None, "operator.set_owner", detail)
            return True

        return await self._database.write(work)

    async def remove(self, email: str, now_us: int, *, actor: str) -> bool:
        """Revoke an operator: token, password, sessions, links and memberships end.

        Raises:
            StoreConflictError: `last_owner`.
        """

        async def work(tx: Transaction) -> bool:
            await _keep_an_owner(tx, email)
            if not await tx.run(_REVOKE, now_us, email):
                return False
            for statement in _FORGET:
                await tx.run(statement, email)
            await write_audit(tx, now_us, actor, None, "operator.remove", {"email": email})
            return True

        return await self._database.write(work)

    async def members(self, project_id: int) -> Sequence[Member]:
        """Members of a project by address."""
        rows = await self._database.read(lambda tx: tx.rows(MEMBERS, project_id))
        return [Member(email=email, role=Role(role), added_us=at) for email, role, at in rows]

    async def set_member(self, project_id: int, member: Member, now_us: int, *, actor: str) -> bool:
        """Add a member or change the role; False when there is no such operator.

        Raises:
            StoreConflictError: `members` when there are `MEMBERS_MAX`.
        """
        email, role = member.email, member.role.value

        async def work(tx: Transaction) -> bool:
            if await tx.row(HOLD, email) is None:
                return False
            await tx.row(_LOCK_PROJECT, project_id)
            before = await tx.value(_ROLE, project_id, email)
            if before is None and await tx.value(_COUNT_MEMBERS, project_id) >= MEMBERS_MAX:
                field = "members"
                raise StoreConflictError(field)
            await tx.run(_SET, project_id, email, role, member.added_us)
            if before != role:
                detail = {"email": email, "from": before, "to": role}
                await write_audit(tx, now_us, actor, project_id, "member.set", detail)
            return True

        return await self._database.write(work)

    async def remove_member(self, project_id: int, email: str, now_us: int, *, actor: str) -> bool:
        """End a membership; False when there is none."""

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_REMOVE, project_id, email):
                return False
            await write_audit(tx, now_us, actor, project_id, "member.remove", {"email": email})
            return True

        return await self._database.write(work)

    async def audit(
        self, wanted: AuditFilter, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        """Audit entries, newest first, below id `before`; examines a bounded number."""
        return await self._database.read(lambda tx: find_audit(tx, wanted, before, limit))

    async def note_key_uses(self, used_us: Mapping[str, int]) -> None:
        """Store when keys were last used, by public id; an earlier time changes nothing."""
        await self._database.write(lambda tx: note_uses(tx, used_us))

    async def key_uses(self, project_id: int) -> Mapping[str, int]:
        """When each key of a project was last used; absent: never."""
        return await self._database.read(lambda tx: read_uses(tx, project_id))


async def _keep_an_owner(tx: Transaction, email: str) -> None:
    await lock_operators(tx)
    if await tx.value(_OTHER_OWNERS, email) == 0:
        field = "last_owner"
        raise StoreConflictError(field)


def _account(row: Row) -> Account:
    email, is_owner, has_password, created_us, seen_us, projects = row
    return Account(
        email=email,
        is_owner=bool(is_owner),
        has_password=bool(has_password),
        created_us=created_us,
        seen_us=seen_us,
        projects=projects,
    )
