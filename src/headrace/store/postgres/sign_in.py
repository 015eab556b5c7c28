"""Links, passwords and sessions of the backoffice on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.sign_in import (
    SESSIONS_OF_OPERATOR_MAX,
    TRIES_WINDOW_US,
    Link,
    Role,
    Session,
    SignedIn,
    Throttle,
)
from headrace.store.access.audit import write_audit
from headrace.store.contract_sign_in import LINKS_MAX
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.sign_in import (
    LINK_COLUMNS,
    SESSION_COLUMNS,
    link_of,
    session_limits_us,
    session_of,
)

_OPERATOR = "SELECT is_owner FROM operators WHERE email = $1 AND revoked_us IS NULL"
_LINK = f"SELECT {LINK_COLUMNS} FROM sign_in_links WHERE token_hash = $1 AND expires_us > $2"  # noqa: S608
_ADD_LINK = f"INSERT INTO sign_in_links ({LINK_COLUMNS}) VALUES ($1, $2, $3, $4)"  # noqa: S608
_END_OLD_LINKS = """
DELETE FROM sign_in_links WHERE expires_us <= $1 OR token_hash IN
(SELECT token_hash FROM sign_in_links ORDER BY created_us DESC OFFSET $2)
"""
_SET_PASSWORD = (
    "UPDATE operators SET password_hash = $1 WHERE email = $2 AND revoked_us IS NULL RETURNING 1"  # noqa: S105 - SQL
)
_FIRST_OWNER = """
INSERT INTO operators (id, email, token_hash, created_us, is_owner) VALUES ($1, $2, $3, $4, true)
ON CONFLICT (email) DO UPDATE SET is_owner = true, revoked_us = NULL
"""
_MAKE_TRIES = """
INSERT INTO sign_in_tries (subject, since_us, tries) SELECT unnest($1::text[]), $2::bigint, 0
ON CONFLICT (subject) DO NOTHING
"""
# In one order, so that two that try at once wait for one another instead of locking up.
_HOLD_TRIES = """
SELECT subject, since_us, tries FROM sign_in_tries WHERE subject = ANY($1::text[])
ORDER BY subject FOR UPDATE
"""
_SESSION = f"""
SELECT {SESSION_COLUMNS} FROM sessions
WHERE token_hash = $1 AND seen_us > $2 AND created_us > $3
"""  # noqa: S608 - constants
_SESSIONS = f"""
SELECT {SESSION_COLUMNS} FROM sessions
WHERE email = $1 AND seen_us > $2 AND created_us > $3 ORDER BY seen_us DESC, id
"""  # noqa: S608 - constants
_OPEN = """
INSERT INTO sessions (token_hash, id, email, created_us, seen_us, address, browser)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_END_OLD = """
DELETE FROM sessions WHERE seen_us <= $1 OR created_us <= $2 OR token_hash IN
(SELECT token_hash FROM sessions WHERE email = $3 ORDER BY created_us DESC OFFSET $4)
"""


class PostgresSignIn:
    """See `headrace.store.contract_sign_in.SignInStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_link(self, link: Link, *, actor: str) -> bool:
        async def work(connection: Connection) -> bool:
            if link.email is not None and await connection.fetchval(_OPERATOR, link.email) is None:
                return False
            values = (link.token_hash, link.email, link.created_us, link.expires_us)
            await connection.execute(_ADD_LINK, *values)
            await connection.execute(_END_OLD_LINKS, link.created_us, LINKS_MAX)
            detail = {"email": link.email}
            await write_audit(
                PostgresTransaction(connection),
                link.created_us,
                actor,
                None,
                "sign_in.link",
                detail,
            )
            return True

        return await self._database.write(work)

    async def link(self, token_hash: bytes, now_us: int) -> Link | None:
        async def read(connection: Connection) -> Link | None:
            row = await connection.fetchrow(_LINK, token_hash, now_us)
            return None if row is None else link_of(row)

        return await self._database.read(read)

    async def use_link(
        self, token_hash: bytes, password_hash: str, session: Session, owner_token_hash: bytes
    ) -> bool:
        now_us, email = session.created_us, session.email

        async def work(connection: Connection) -> bool:
            # Held, so that of two who come at once one finds it used.
            row = await connection.fetchrow(f"{_LINK} FOR UPDATE", token_hash, now_us)
            if row is None or link_of(row).email not in (None, email):
                return False
            if link_of(row).email is None:
                await connection.execute(_FIRST_OWNER, session.id, email, owner_token_hash, now_us)
                detail = {"email": email, "is_owner": True}
                actor = "sign-in link"
                await write_audit(
                    PostgresTransaction(connection), now_us, actor, None, "operator.create", detail
                )
            if await connection.fetchval(_SET_PASSWORD, password_hash, email) is None:
                return False
            await connection.execute(
                "DELETE FROM sign_in_links WHERE token_hash = $1 OR email = $2", token_hash, email
            )
            await connection.execute("DELETE FROM sessions WHERE email = $1", email)
            await _open(connection, session, "link")
            return True

        return await self._database.write(work)

    async def count_try(self, subjects: Sequence[Throttle], now_us: int) -> int:
        names = sorted(subject.subject for subject in subjects)
        most = {subject.subject: subject.tries_max for subject in subjects}
        start_us = now_us - TRIES_WINDOW_US

        async def work(connection: Connection) -> int:
            await connection.execute("DELETE FROM sign_in_tries WHERE since_us <= $1", start_us)
            await connection.execute(_MAKE_TRIES, names, now_us)
            for name, since_us, tries in await connection.fetch(_HOLD_TRIES, names):
                if tries >= most[name]:
                    return int(since_us) - start_us
            await connection.execute(
                "UPDATE sign_in_tries SET tries = tries + 1 WHERE subject = ANY($1::text[])", names
            )
            return 0

        return await self._database.write(work)

    async def password_hash(self, email: str) -> str | None:
        async def read(connection: Connection) -> str | None:
            found: str | None = await connection.fetchval(
                "SELECT password_hash FROM operators WHERE email = $1 AND revoked_us IS NULL",
                email,
            )
            return found

        return await self._database.read(read)

    async def open_session(self, session: Session, forgiven: Sequence[Throttle]) -> bool:
        names = [subject.subject for subject in forgiven]

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_OPERATOR, session.email) is None:
                return False
            await connection.execute(
                "DELETE FROM sign_in_tries WHERE subject = ANY($1::text[])", names
            )
            await _open(connection, session, "password")
            return True

        return await self._database.write(work)

    async def note_failure(self, email: str, address: str, now_us: int) -> None:
        async def work(connection: Connection) -> None:
            known = await connection.fetchval(_OPERATOR, email) is not None
            actor = f"operator {email}" if known else "somebody"
            detail = {"address": address}
            await write_audit(
                PostgresTransaction(connection), now_us, actor, None, "session.refused", detail
            )

        await self._database.write(work)

    async def signed_in(self, token_hash: bytes, now_us: int) -> SignedIn | None:
        async def read(connection: Connection) -> SignedIn | None:
            row = await connection.fetchrow(_SESSION, token_hash, *session_limits_us(now_us))
            if row is None:
                return None
            session = session_of(row)
            is_owner = await connection.fetchval(_OPERATOR, session.email)
            if is_owner is None:
                return None
            roles = await connection.fetch(
                "SELECT project_id, role FROM members WHERE email = $1", session.email
            )
            return SignedIn(
                session=session,
                is_owner=is_owner,
                roles={project_id: Role(role) for project_id, role in roles},
            )

        return await self._database.read(read)

    async def seen(self, token_hash: bytes, now_us: int) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(
                "UPDATE sessions SET seen_us = greatest(seen_us, $1) WHERE token_hash = $2",
                now_us,
                token_hash,
            )

        await self._database.write(work)

    async def sessions(self, email: str, now_us: int) -> Sequence[Session]:
        async def read(connection: Connection) -> Sequence[Session]:
            rows = await connection.fetch(_SESSIONS, email, *session_limits_us(now_us))
            return [session_of(row) for row in rows]

        return await self._database.read(read)

    async def end_session(self, email: str, session_id: str, now_us: int, *, action: str) -> bool:
        async def work(connection: Connection) -> bool:
            sql = "DELETE FROM sessions WHERE email = $1 AND id = $2 RETURNING 1"
            if await connection.fetchval(sql, email, session_id) is None:
                return False
            detail = {"session": session_id}
            await write_audit(
                PostgresTransaction(connection), now_us, f"operator {email}", None, action, detail
            )
            return True

        return await self._database.write(work)

    async def set_password(self, email: str, password_hash: str, keep: bytes, now_us: int) -> bool:
        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_SET_PASSWORD, password_hash, email) is None:
                return False
            await connection.execute(
                "DELETE FROM sessions WHERE email = $1 AND token_hash <> $2", email, keep
            )
            await connection.execute("DELETE FROM sign_in_links WHERE email = $1", email)
            actor, action = f"operator {email}", "operator.set_password"
            await write_audit(PostgresTransaction(connection), now_us, actor, None, action, {})
            return True

        return await self._database.write(work)

    async def reveal(
        self, signed_in: SignedIn, project_id: int, until_us: int, now_us: int, path: str
    ) -> None:
        session = signed_in.session

        async def work(connection: Connection) -> None:
            await connection.execute(
                "UPDATE sessions SET revealed_project_id = $1, revealed_until_us = $2 "
                "WHERE token_hash = $3",
                project_id,
                until_us,
                session.token_hash,
            )
            if until_us:
                detail = {"page": path, "session": session.id}
                action = "personal_data.reveal"
                await write_audit(
                    PostgresTransaction(connection),
                    now_us,
                    signed_in.actor,
                    project_id,
                    action,
                    detail,
                )

        await self._database.write(work)


async def _open(connection: Connection, session: Session, by: str) -> None:
    """Add a session; those that are over go, and the oldest of an operator who has too many."""
    await connection.execute(
        _OPEN,
        session.token_hash,
        session.id,
        session.email,
        session.created_us,
        session.seen_us,
        session.address,
        session.browser,
    )
    limits = session_limits_us(session.created_us)
    await connection.execute(_END_OLD, *limits, session.email, SESSIONS_OF_OPERATOR_MAX)
    detail = {"session": session.id, "address": session.address, "by": by}
    actor = f"operator {session.email}"
    await write_audit(
        PostgresTransaction(connection), session.created_us, actor, None, "session.open", detail
    )
