"""Links, passwords and sessions of the backoffice in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

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
from headrace.store.engine.transaction import drive
from headrace.store.rows.sign_in import (
    LINK_COLUMNS,
    SESSION_COLUMNS,
    link_of,
    session_limits_us,
    session_of,
)
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction
from headrace.store.sqlite.writer import Writer

_ALIVE = "seen_us > :idle AND created_us > :old"
_OPERATOR = "SELECT is_owner FROM operators WHERE email = ? AND revoked_us IS NULL"


class SqliteSignIn:
    """See `headrace.store.contract_sign_in.SignInStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add_link(self, link: Link, *, actor: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if (
                link.email is not None
                and not connection.execute(_OPERATOR, (link.email,)).fetchone()
            ):
                return False
            connection.execute(
                "DELETE FROM sign_in_links WHERE expires_us <= ?", (link.created_us,)
            )
            connection.execute(
                "INSERT INTO sign_in_links (token_hash, email, created_us, expires_us) "
                "VALUES (?, ?, ?, ?)",
                (link.token_hash, link.email, link.created_us, link.expires_us),
            )
            connection.execute(
                "DELETE FROM sign_in_links WHERE token_hash IN (SELECT token_hash FROM "
                "sign_in_links ORDER BY created_us DESC LIMIT -1 OFFSET ?)",
                (LINKS_MAX,),
            )
            detail = {"email": link.email}
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    link.created_us,
                    actor,
                    None,
                    "sign_in.link",
                    detail,
                )
            )
            return True

        return await self._writer.run(work)

    async def link(self, token_hash: bytes, now_us: int) -> Link | None:
        return await self._readers.run(lambda connection: _link(connection, token_hash, now_us))

    async def use_link(
        self, token_hash: bytes, password_hash: str, session: Session, owner_token_hash: bytes
    ) -> bool:
        now_us, email = session.created_us, session.email

        def work(connection: apsw.Connection) -> bool:
            link = _link(connection, token_hash, now_us)
            if link is None or link.email not in (None, email):
                return False
            if link.email is None:
                _make_first_owner(connection, session, owner_token_hash)
            changed = connection.execute(
                "UPDATE operators SET password_hash = ? WHERE email = ? AND revoked_us IS NULL "
                "RETURNING 1",
                (password_hash, email),
            ).fetchone()
            if changed is None:
                return False
            connection.execute(
                "DELETE FROM sign_in_links WHERE token_hash = ? OR email = ?", (token_hash, email)
            )
            connection.execute("DELETE FROM sessions WHERE email = ?", (email,))
            _insert(connection, session)
            _note(connection, session, "session.open", {"by": "link"})
            return True

        return await self._writer.run(work)

    async def count_try(self, subjects: Sequence[Throttle], now_us: int) -> int:
        def work(connection: apsw.Connection) -> int:
            start_us = now_us - TRIES_WINDOW_US
            connection.execute("DELETE FROM sign_in_tries WHERE since_us <= ?", (start_us,))
            for subject in subjects:
                row: Any = connection.execute(
                    "SELECT since_us, tries FROM sign_in_tries WHERE subject = ?",
                    (subject.subject,),
                ).fetchone()
                if row is not None and row[1] >= subject.tries_max:
                    return int(row[0]) - start_us
            for subject in subjects:
                connection.execute(
                    "INSERT INTO sign_in_tries (subject, since_us, tries) VALUES (?, ?, 1) "
                    "ON CONFLICT (subject) DO UPDATE SET tries = tries + 1",
                    (subject.subject, now_us),
                )
            return 0

        return await self._writer.run(work)

    async def password_hash(self, email: str) -> str | None:
        sql = "SELECT password_hash FROM operators WHERE email = ? AND revoked_us IS NULL"

        def read(connection: apsw.Connection) -> str | None:
            row: Any = connection.execute(sql, (email,)).fetchone()
            return None if row is None else row[0]

        return await self._readers.run(read)

    async def open_session(self, session: Session, forgiven: Sequence[Throttle]) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if connection.execute(_OPERATOR, (session.email,)).fetchone() is None:
                return False
            for subject in forgiven:
                connection.execute(
                    "DELETE FROM sign_in_tries WHERE subject = ?", (subject.subject,)
                )
            _insert(connection, session)
            _note(connection, session, "session.open", {"by": "password"})
            return True

        return await self._writer.run(work)

    async def note_failure(self, email: str, address: str, now_us: int) -> None:
        def work(connection: apsw.Connection) -> None:
            known = connection.execute(_OPERATOR, (email,)).fetchone() is not None
            actor = f"operator {email}" if known else "somebody"
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    now_us,
                    actor,
                    None,
                    "session.refused",
                    {"address": address},
                )
            )

        await self._writer.run(work)

    async def signed_in(self, token_hash: bytes, now_us: int) -> SignedIn | None:
        sql = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE token_hash = :token AND {_ALIVE}"  # noqa: S608

        def read(connection: apsw.Connection) -> SignedIn | None:
            values = {"token": token_hash, **_limits(now_us)}
            row: Any = connection.execute(sql, values).fetchone()
            operator: Any = row and connection.execute(_OPERATOR, (row[2],)).fetchone()
            if not operator:
                return None
            roles: Any = connection.execute(
                "SELECT project_id, role FROM members WHERE email = ?", (row[2],)
            )
            return SignedIn(
                session=session_of(row),
                is_owner=bool(operator[0]),
                roles={project_id: Role(role) for project_id, role in roles},
            )

        return await self._readers.run(read)

    async def seen(self, token_hash: bytes, now_us: int) -> None:
        def work(connection: apsw.Connection) -> None:
            connection.execute(
                "UPDATE sessions SET seen_us = max(seen_us, ?) WHERE token_hash = ?",
                (now_us, token_hash),
            )

        await self._writer.run(work)

    async def sessions(self, email: str, now_us: int) -> Sequence[Session]:
        sql = (
            f"SELECT {SESSION_COLUMNS} FROM sessions WHERE email = :email AND {_ALIVE} "  # noqa: S608
            "ORDER BY seen_us DESC, id"
        )

        def read(connection: apsw.Connection) -> Sequence[Session]:
            rows: Any = connection.execute(sql, {"email": email, **_limits(now_us)})
            return [session_of(row) for row in rows]

        return await self._readers.run(read)

    async def end_session(self, email: str, session_id: str, now_us: int, *, action: str) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(
                "DELETE FROM sessions WHERE email = ? AND id = ? RETURNING 1", (email, session_id)
            ).fetchone()
            if row is None:
                return False
            detail = {"session": session_id}
            drive(
                write_audit(
                    SqliteTransaction(connection), now_us, f"operator {email}", None, action, detail
                )
            )
            return True

        return await self._writer.run(work)

    async def set_password(self, email: str, password_hash: str, keep: bytes, now_us: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row = connection.execute(
                "UPDATE operators SET password_hash = ? WHERE email = ? AND revoked_us IS NULL "
                "RETURNING 1",
                (password_hash, email),
            ).fetchone()
            if row is None:
                return False
            connection.execute(
                "DELETE FROM sessions WHERE email = ? AND token_hash <> ?", (email, keep)
            )
            connection.execute("DELETE FROM sign_in_links WHERE email = ?", (email,))
            drive(
                write_audit(
                    SqliteTransaction(connection),
                    now_us,
                    f"operator {email}",
                    None,
                    "operator.set_password",
                    {},
                )
            )
            return True

        return await self._writer.run(work)

    async def reveal(
        self, signed_in: SignedIn, project_id: int, until_us: int, now_us: int, path: str
    ) -> None:
        session = signed_in.session

        def work(connection: apsw.Connection) -> None:
            connection.execute(
                "UPDATE sessions SET revealed_project_id = ?, revealed_until_us = ? "
                "WHERE token_hash = ?",
                (project_id, until_us, session.token_hash),
            )
            if until_us:
                detail = {"page": path, "session": session.id}
                action = "personal_data.reveal"
                drive(
                    write_audit(
                        SqliteTransaction(connection),
                        now_us,
                        signed_in.actor,
                        project_id,
                        action,
                        detail,
                    )
                )

        await self._writer.run(work)


def _limits(now_us: int) -> dict[str, int]:
    idle_us, old_us = session_limits_us(now_us)
    return {"idle": idle_us, "old": old_us}


def _link(connection: apsw.Connection, token_hash: bytes, now_us: int) -> Link | None:
    row: Any = connection.execute(
        f"SELECT {LINK_COLUMNS} FROM sign_in_links WHERE token_hash = ? AND expires_us > ?",  # noqa: S608
        (token_hash, now_us),
    ).fetchone()
    if row is None:
        return None
    return link_of(row)


def _make_first_owner(connection: apsw.Connection, session: Session, token_hash: bytes) -> None:
    now_us, email = session.created_us, session.email
    there = connection.execute("SELECT 1 FROM operators WHERE email = ?", (email,)).fetchone()
    if there is None:
        connection.execute(
            "INSERT INTO operators (id, email, token_hash, created_us, is_owner) "
            "VALUES (?, ?, ?, ?, 1)",
            (session.id, email, token_hash, now_us),
        )
    else:
        connection.execute(
            "UPDATE operators SET is_owner = 1, revoked_us = NULL WHERE email = ?", (email,)
        )
    detail = {"email": email, "is_owner": True}
    drive(
        write_audit(
            SqliteTransaction(connection), now_us, "sign-in link", None, "operator.create", detail
        )
    )


def _insert(connection: apsw.Connection, session: Session) -> None:
    """Add a session; those that are over go, and the oldest of an operator who has too many."""
    over = f"DELETE FROM sessions WHERE NOT ({_ALIVE})"  # noqa: S608 - constants
    connection.execute(over, _limits(session.created_us))
    connection.execute(
        "INSERT INTO sessions (token_hash, id, email, created_us, seen_us, address, browser) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            session.token_hash,
            session.id,
            session.email,
            session.created_us,
            session.seen_us,
            session.address,
            session.browser,
        ),
    )
    connection.execute(
        "DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions "
        "WHERE email = ? ORDER BY created_us DESC LIMIT -1 OFFSET ?)",
        (session.email, SESSIONS_OF_OPERATOR_MAX),
    )


def _note(
    connection: apsw.Connection, session: Session, action: str, detail: dict[str, str]
) -> None:
    detail = {"session": session.id, "address": session.address} | detail
    actor = f"operator {session.email}"
    drive(
        write_audit(SqliteTransaction(connection), session.created_us, actor, None, action, detail)
    )
