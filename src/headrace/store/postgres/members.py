"""Operators as people, their roles, the audit log and last uses of keys on PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.store.access.audit import write_audit
from headrace.store.contract import StoreConflictError
from headrace.store.contract_operators import OPERATORS_MAX
from headrace.store.contract_sign_in import MEMBERS_MAX, Account, AuditFilter, AuditRow, Member
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.sign_in import (
    AUDIT_COLUMNS,
    AUDIT_LOOKED_AT_MAX,
    account_of,
    audit_row_of,
    member_of,
    session_limits_us,
)

# Addresses are sorted byte by byte, as the embedded store does, whatever the server's language.
_ACCOUNTS = f"""
SELECT email, is_owner, password_hash IS NOT NULL, created_us,
       (SELECT max(seen_us) FROM sessions s
        WHERE s.email = o.email AND s.seen_us > $1 AND s.created_us > $2),
       (SELECT count(*) FROM members m WHERE m.email = o.email)
FROM operators o WHERE revoked_us IS NULL ORDER BY email COLLATE "C" LIMIT {OPERATORS_MAX}
"""  # noqa: S608 - a constant
_OTHER_OWNERS = (
    "SELECT count(*) FROM operators WHERE is_owner AND revoked_us IS NULL AND email <> $1"
)
_INVITE = """
INSERT INTO operators (id, email, token_hash, created_us, is_owner) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (email) DO UPDATE SET id = excluded.id, token_hash = excluded.token_hash,
    is_owner = excluded.is_owner, password_hash = NULL, revoked_us = NULL
"""
_SET_OWNER = """
UPDATE operators SET is_owner = $1 WHERE email = $2 AND revoked_us IS NULL AND is_owner <> $1
RETURNING 1
"""
_REVOKE = """
UPDATE operators SET revoked_us = $1, password_hash = NULL, is_owner = false
WHERE email = $2 AND revoked_us IS NULL RETURNING 1
"""
_SET_MEMBER = """
INSERT INTO members (project_id, email, role, added_us) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, email) DO UPDATE SET role = excluded.role
"""
_NOTE_USES = """
INSERT INTO api_key_uses (public_id, used_us)
SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (public_id) DO UPDATE SET used_us = greatest(api_key_uses.used_us, excluded.used_us)
"""
_USES = """
SELECT u.public_id, u.used_us FROM api_keys k JOIN api_key_uses u ON u.public_id = k.public_id
WHERE k.project_id = $1
"""
_AFTER_ALL = 1 << 62


class PostgresMembers:
    """See `headrace.store.contract_sign_in.MemberStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accounts(self, now_us: int) -> Sequence[Account]:
        async def read(connection: Connection) -> Sequence[Account]:
            rows = await connection.fetch(_ACCOUNTS, *session_limits_us(now_us))
            return [account_of(row) for row in rows]

        return await self._database.read(read)

    async def invite(
        self, email: str, token_hash: bytes, now_us: int, *, is_owner: bool, actor: str
    ) -> bool:
        values = (secrets.token_hex(8), email, token_hash, now_us, is_owner)

        async def work(connection: Connection) -> bool:
            await _one_at_a_time(connection)
            there = await connection.fetchrow(
                "SELECT count(*), bool_or(email = $1), "
                "bool_or(email = $1 AND revoked_us IS NULL) FROM operators",
                email,
            )
            if there[2]:
                return False
            if not there[1] and there[0] >= OPERATORS_MAX:
                field = "operators"
                raise StoreConflictError(field)
            await connection.execute(_INVITE, *values)
            detail = {"email": email, "is_owner": is_owner}
            await write_audit(
                PostgresTransaction(connection), now_us, actor, None, "operator.create", detail
            )
            return True

        return await self._database.write(work)

    async def set_owner(self, email: str, now_us: int, *, is_owner: bool, actor: str) -> bool:
        async def work(connection: Connection) -> bool:
            if not is_owner:
                await _keep_an_owner(connection, email)
            if await connection.fetchval(_SET_OWNER, is_owner, email) is None:
                return False
            detail = {"email": email, "is_owner": is_owner}
            await write_audit(
                PostgresTransaction(connection), now_us, actor, None, "operator.set_owner", detail
            )
            return True

        return await self._database.write(work)

    async def remove(self, email: str, now_us: int, *, actor: str) -> bool:
        async def work(connection: Connection) -> bool:
            await _keep_an_owner(connection, email)
            if await connection.fetchval(_REVOKE, now_us, email) is None:
                return False
            for table in ("sessions", "sign_in_links", "members"):
                await connection.execute(f"DELETE FROM {table} WHERE email = $1", email)  # noqa: S608
            detail = {"email": email}
            await write_audit(
                PostgresTransaction(connection), now_us, actor, None, "operator.remove", detail
            )
            return True

        return await self._database.write(work)

    async def members(self, project_id: int) -> Sequence[Member]:
        async def read(connection: Connection) -> Sequence[Member]:
            rows = await connection.fetch(
                "SELECT email, role, added_us FROM members WHERE project_id = $1 "
                'ORDER BY email COLLATE "C"',
                project_id,
            )
            return [member_of(row) for row in rows]

        return await self._database.read(read)

    async def set_member(self, project_id: int, member: Member, now_us: int, *, actor: str) -> bool:
        email, role = member.email, member.role.value

        async def work(connection: Connection) -> bool:
            # Held, so that an operator who is removed just now leaves no membership behind.
            operator = await connection.fetchval(
                "SELECT 1 FROM operators WHERE email = $1 AND revoked_us IS NULL FOR SHARE", email
            )
            if operator is None:
                return False
            await connection.fetchval(
                "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE", project_id
            )
            before = await connection.fetchval(
                "SELECT role FROM members WHERE project_id = $1 AND email = $2", project_id, email
            )
            if before is None:
                await _keep_members_few(connection, project_id)
            await connection.execute(_SET_MEMBER, project_id, email, role, member.added_us)
            if before != role:
                detail = {"email": email, "from": before, "to": role}
                await write_audit(
                    PostgresTransaction(connection), now_us, actor, project_id, "member.set", detail
                )
            return True

        return await self._database.write(work)

    async def remove_member(self, project_id: int, email: str, now_us: int, *, actor: str) -> bool:
        async def work(connection: Connection) -> bool:
            sql = "DELETE FROM members WHERE project_id = $1 AND email = $2 RETURNING 1"
            if await connection.fetchval(sql, project_id, email) is None:
                return False
            detail = {"email": email}
            await write_audit(
                PostgresTransaction(connection), now_us, actor, project_id, "member.remove", detail
            )
            return True

        return await self._database.write(work)

    async def audit(
        self, wanted: AuditFilter, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        sql, values = _audit_query(wanted, before, limit)

        async def read(connection: Connection) -> Sequence[AuditRow]:
            return [audit_row_of(row) for row in await connection.fetch(sql, *values)]

        return await self._database.read(read)

    async def note_key_uses(self, used_us: Mapping[str, int]) -> None:
        # In one order, so that two processes that note at once wait instead of locking up.
        names = sorted(used_us)
        times = [used_us[name] for name in names]

        async def work(connection: Connection) -> None:
            await connection.execute(_NOTE_USES, names, times)

        await self._database.write(work)

    async def key_uses(self, project_id: int) -> Mapping[str, int]:
        async def read(connection: Connection) -> Mapping[str, int]:
            return dict(await connection.fetch(_USES, project_id))

        return await self._database.read(read)


async def _one_at_a_time(connection: Connection) -> None:
    """Two that count operators at once count one after the other."""
    await connection.execute("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE")


async def _keep_an_owner(connection: Connection, email: str) -> None:
    await _one_at_a_time(connection)
    if await connection.fetchval(_OTHER_OWNERS, email) == 0:
        field = "last_owner"
        raise StoreConflictError(field)


async def _keep_members_few(connection: Connection, project_id: int) -> None:
    count = await connection.fetchval(
        "SELECT count(*) FROM members WHERE project_id = $1", project_id
    )
    if count >= MEMBERS_MAX:
        field = "members"
        raise StoreConflictError(field)


def _audit_query(wanted: AuditFilter, before: int | None, limit: int) -> tuple[str, list[Any]]:
    values: list[Any] = [_AFTER_ALL if before is None else before, AUDIT_LOOKED_AT_MAX, limit]

    def value(given: Any) -> str:
        values.append(given)
        return f"${len(values)}"

    inner = "id < $1"
    if wanted.project_id is not None:
        inner += f" AND project_id = {value(wanted.project_id)}"
    conditions = ["true"]
    if wanted.action is not None:
        prefix = wanted.action.endswith(".")
        name = value(wanted.action)
        conditions.append(f"starts_with(action, {name})" if prefix else f"action = {name}")
    if wanted.actor is not None:
        conditions.append(f"strpos(lower(actor), lower({value(wanted.actor)})) > 0")
    if wanted.after_us is not None:
        conditions.append(f"at_us >= {value(wanted.after_us)}")
    if wanted.before_us is not None:
        conditions.append(f"at_us < {value(wanted.before_us)}")
    sql = (
        f"SELECT {AUDIT_COLUMNS} FROM "  # noqa: S608 - constants and numbers of values
        f"(SELECT * FROM audit WHERE {inner} ORDER BY id DESC LIMIT $2) looked "
        f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT $3"
    )
    return sql, values
