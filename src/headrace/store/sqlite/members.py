"""Operators as people, their roles, the audit log and last uses of keys in the embedded store."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from headrace.store.access.audit import write_audit
from headrace.store.contract import StoreConflictError
from headrace.store.contract_operators import OPERATORS_MAX
from headrace.store.contract_sign_in import MEMBERS_MAX, Account, AuditFilter, AuditRow, Member
from headrace.store.engine.transaction import drive
from headrace.store.rows.sign_in import (
    AUDIT_COLUMNS,
    AUDIT_LOOKED_AT_MAX,
    account_of,
    audit_row_of,
    member_of,
    session_limits_us,
)
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

_AFTER_ALL = 1 << 62
_ACCOUNTS = f"""
SELECT email, is_owner, password_hash IS NOT NULL, created_us,
       (SELECT max(seen_us) FROM sessions s
        WHERE s.email = o.email AND s.seen_us > :idle AND s.created_us > :old),
       (SELECT count(*) FROM members m WHERE m.email = o.email)
FROM operators o WHERE revoked_us IS NULL ORDER BY email LIMIT {OPERATORS_MAX}
"""  # noqa: S608 - a constant
_OWNERS = "SELECT count(*) FROM operators WHERE is_owner AND revoked_us IS NULL AND email <> ?"


class SqliteMembers:
    """See `headrace.store.contract_sign_in.MemberStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def accounts(self, now_us: int) -> Sequence[Account]:
        idle_us, old_us = session_limits_us(now_us)
        values = {"idle": idle_us, "old": old_us}

        def read(connection: apsw.Connection) -> Sequence[Account]:
            rows: Any = connection.execute(_ACCOUNTS, values)
            return [account_of(row) for row in rows]

        return await self._readers.run(read)

    async def invite(
        self, email: str, token_hash: bytes, now_us: int, *, is_owner: bool, actor: str
    ) -> bool:
        operator_id = secrets.token_hex(8)

        def work(connection: apsw.Connection) -> bool:
            row: Any = connection.execute(
                "SELECT revoked_us FROM operators WHERE email = ?", (email,)
            ).fetchone()
            if row is not None and row[0] is None:
                return False
            if row is None:
                count: Any = connection.execute("SELECT count(*) FROM operators").fetchone()
                if count[0] >= OPERATORS_MAX:
                    field = "operators"
                    raise StoreConflictError(field)
            connection.execute(
                "INSERT INTO operators (id, email, token_hash, created_us, is_owner) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (email) DO UPDATE SET id = excluded.id, "
                "token_hash = excluded.token_hash, is_owner = excluded.is_owner, "
                "password_hash = NULL, revoked_us = NULL",
                (operator_id, email, token_hash, now_us, is_owner),
            )
            detail = {"email": email, "is_owner": is_owner}
            drive(
                write_audit(
                    SqliteTransaction(connection), now_us, actor, None, "operator.create", detail
                )
            )
            return True

        return await self._writer.run(work)

    async def set_owner(self, email: str, now_us: int, *, is_owner: bool, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if not is_owner:
                _keep_an_owner(connection, email)
            row = connection.execute(
                "UPDATE operators SET is_owner = ? WHERE email = ? AND revoked_us IS NULL "
                "AND is_owner <> ? RETURNING 1",
                (is_owner, email, is_owner),
            ).fetchone()
            if row is None:
                return False
            detail = {"email": email, "is_owner": is_owner}
            drive(
                write_audit(
                    SqliteTransaction(connection), now_us, actor, None, "operator.set_owner", detail
                )
            )
            return True

        return await self._writer.run(work)

    async def remove(self, email: str, now_us: int, *, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            _keep_an_owner(connection, email)
            row = connection.execute(
                "UPDATE operators SET revoked_us = ?, password_hash = NULL, is_owner = 0 "
                "WHERE email = ? AND revoked_us IS NULL RETURNING 1",
                (now_us, email),
            ).fetchone()
            if row is None:
                return False
            for table in ("sessions", "sign_in_links", "members"):
                connection.execute(f"DELETE FROM {table} WHERE email = ?", (email,))  # noqa: S608
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    now_us,
                    actor,
                    None,
                    "operator.remove",
                    {"email": email},
                )
            )
            return True

        return await self._writer.run(work)

    async def members(self, project_id: int) -> Sequence[Member]:
        sql = "SELECT email, role, added_us FROM members WHERE project_id = ? ORDER BY email"

        def read(connection: apsw.Connection) -> Sequence[Member]:
            rows: Any = connection.execute(sql, (project_id,))
            return [member_of(row) for row in rows]

        return await self._readers.run(read)

    async def set_member(self, project_id: int, member: Member, now_us: int, *, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            operator = connection.execute(
                "SELECT 1 FROM operators WHERE email = ? AND revoked_us IS NULL", (member.email,)
            ).fetchone()
            if operator is None:
                return False
            before = _role(connection, project_id, member.email)
            if before is None:
                _keep_members_few(connection, project_id)
            connection.execute(
                "INSERT INTO members (project_id, email, role, added_us) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (project_id, email) DO UPDATE SET role = excluded.role",
                (project_id, member.email, member.role.value, member.added_us),
            )
            if before != member.role:
                detail = {"email": member.email, "from": before, "to": member.role.value}
                drive(
                    write_audit(
                        SqliteTransaction(connection),
                        now_us,
                        actor,
                        project_id,
                        "member.set",
                        detail,
                    )
                )
            return True

        return await self._writer.run(work)

    async def remove_member(self, project_id: int, email: str, now_us: int, *, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(
                "DELETE FROM members WHERE project_id = ? AND email = ? RETURNING 1",
                (project_id, email),
            ).fetchone()
            if row is None:
                return False
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    now_us,
                    actor,
                    project_id,
                    "member.remove",
                    {"email": email},
                )
            )
            return True

        return await self._writer.run(work)

    async def audit(
        self, wanted: AuditFilter, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        sql, values = _audit_query(wanted, before, limit)

        def read(connection: apsw.Connection) -> Sequence[AuditRow]:
            rows: Any = connection.execute(sql, values)
            return [audit_row_of(row) for row in rows]

        return await self._readers.run(read)

    async def note_key_uses(self, used_us: Mapping[str, int]) -> None:
        def work(connection: apsw.Connection) -> None:
            connection.executemany(
                "INSERT INTO api_key_uses (public_id, used_us) VALUES (?, ?) "
                "ON CONFLICT (public_id) DO UPDATE SET used_us = max(used_us, excluded.used_us)",
                sorted(used_us.items()),
            )

        await self._writer.run(work)

    async def key_uses(self, project_id: int) -> Mapping[str, int]:
        sql = (
            "SELECT u.public_id, u.used_us FROM api_keys k "
            "JOIN api_key_uses u ON u.public_id = k.public_id WHERE k.project_id = ?"
        )

        def read(connection: apsw.Connection) -> Mapping[str, int]:
            rows: Any = connection.execute(sql, (project_id,))
            return dict(rows)

        return await self._readers.run(read)


def _keep_an_owner(connection: apsw.Connection, email: str) -> None:
    others: Any = connection.execute(_OWNERS, (email,)).fetchone()
    if others[0] == 0:
        field = "last_owner"
        raise StoreConflictError(field)


def _keep_members_few(connection: apsw.Connection, project_id: int) -> None:
    count: Any = connection.execute(
        "SELECT count(*) FROM members WHERE project_id = ?", (project_id,)
    ).fetchone()
    if count[0] >= MEMBERS_MAX:
        field = "members"
        raise StoreConflictError(field)


def _role(connection: apsw.Connection, project_id: int, email: str) -> str | None:
    row: Any = connection.execute(
        "SELECT role FROM members WHERE project_id = ? AND email = ?", (project_id, email)
    ).fetchone()
    return None if row is None else str(row[0])


def _audit_query(wanted: AuditFilter, before: int | None, limit: int) -> tuple[str, dict[str, Any]]:
    """The newest entries are looked at, so that a rare value costs no more than this."""
    values: dict[str, Any] = {
        "before": _AFTER_ALL if before is None else before,
        "limit": limit,
        "looked": AUDIT_LOOKED_AT_MAX,
    }
    inner = "id < :before"
    if wanted.project_id is not None:
        inner += " AND project_id = :project"
        values["project"] = wanted.project_id
    conditions = []
    if wanted.action is not None and wanted.action.endswith("."):
        conditions.append("substr(action, 1, length(:action)) = :action")
    elif wanted.action is not None:
        conditions.append("action = :action")
    values["action"] = wanted.action
    if wanted.actor is not None:
        conditions.append("instr(lower(actor), lower(:actor)) > 0")
        values["actor"] = wanted.actor
    if wanted.after_us is not None:
        conditions.append("at_us >= :after")
        values["after"] = wanted.after_us
    if wanted.before_us is not None:
        conditions.append("at_us < :until")
        values["until"] = wanted.before_us
    outer = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    sql = (
        f"SELECT {AUDIT_COLUMNS} FROM "  # noqa: S608 - constants
        f"(SELECT * FROM audit WHERE {inner} ORDER BY id DESC LIMIT :looked) "
        f"{outer}ORDER BY id DESC LIMIT :limit"
    )
    return sql, values
