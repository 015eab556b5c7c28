"""Links, passwords and sessions of the backoffice."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.access.sign_in import (
    SESSION_IDLE_US,
    SESSION_US,
    SESSIONS_OF_OPERATOR_MAX,
    TRIES_WINDOW_US,
    Link,
    Role,
    Session,
    SignedIn,
    Throttle,
)
from headrace.store.access.audit import write_audit
from headrace.store.access.operators import FIND, HOLD
from headrace.store.contract.sign_in import LINKS_MAX
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction

_SESSION_COLUMNS = (
    "token_hash, id, email, created_us, seen_us, address, browser, "
    "revealed_project_id, revealed_until_us"
)
_LINK_COLUMNS = "token_hash, email, created_us, expires_us"

_PASSWORD = sql("SELECT password_hash FROM operators WHERE email = $1 AND revoked_us IS NULL")
_SET_PASSWORD = sql(
    "UPDATE operators SET password_hash = $1 WHERE email = $2 AND revoked_us IS NULL"
)
_ADD_OWNER = sql(
    "INSERT INTO operators (id, email, token_hash, created_us, is_owner) "
    "VALUES ($1, $2, $3, $4, true) "
    "ON CONFLICT (email) DO UPDATE SET is_owner = true, revoked_us = NULL"
)
ROLES = sql("SELECT project_id, role FROM members WHERE email = $1")

_LINK_TEXT = f"SELECT {_LINK_COLUMNS} FROM sign_in_links WHERE token_hash = $1 AND expires_us > $2"
_LINK = sql(_LINK_TEXT)
# Locked, so that of two concurrent uses the second finds it used.
_HOLD_LINK = sql(f"{_LINK_TEXT} FOR UPDATE")
_ADD_LINK = sql(f"INSERT INTO sign_in_links ({_LINK_COLUMNS}) VALUES ($1, $2, $3, $4)")
_END_EXPIRED_LINKS = sql("DELETE FROM sign_in_links WHERE expires_us <= $1")
# Each sign-in adds one session, so the excess over the limit stays small.
_END_OLDEST_LINKS = sql(
    "DELETE FROM sign_in_links WHERE token_hash IN "
    "(SELECT token_hash FROM sign_in_links ORDER BY created_us DESC LIMIT $1 OFFSET $1)"
)
_END_LINKS = sql("DELETE FROM sign_in_links WHERE token_hash = $1 OR email = $2")
_END_LINKS_OF = sql("DELETE FROM sign_in_links WHERE email = $1")

_FORGET_OLD_TRIES = sql("DELETE FROM sign_in_attempts WHERE since_us <= $1")
_BEGIN_TRIES = sql(
    "INSERT INTO sign_in_attempts (subject, since_us, tries) VALUES ($1, $2, 0) "
    "ON CONFLICT (subject) DO NOTHING"
)
# In a fixed order, so that two concurrent attempts wait instead of deadlocking.
HOLD_TRIES = sql(
    "SELECT subject, since_us, tries FROM sign_in_attempts WHERE subject = ANY($1::text[]) "
    "ORDER BY subject FOR UPDATE"
)
COUNT_TRY = sql("UPDATE sign_in_attempts SET tries = tries + 1 WHERE subject = ANY($1::text[])")
_FORGET_UNCOUNTED = sql(
    "DELETE FROM sign_in_attempts WHERE subject = ANY($1::text[]) AND tries = 0"
)
_FORGIVE = sql("DELETE FROM sign_in_attempts WHERE subject = ANY($1::text[])")

_ALIVE = "seen_us > $2 AND created_us > $3"
_SESSION = sql(f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE token_hash = $1 AND {_ALIVE}")
SESSIONS = sql(
    f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE email = $1 AND {_ALIVE} "
    "ORDER BY seen_us DESC, id"
)
_ADD_SESSION = sql(
    "INSERT INTO sessions (token_hash, id, email, created_us, seen_us, address, browser) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7)"
)
_END_OVER = sql("DELETE FROM sessions WHERE seen_us <= $1 OR created_us <= $2")
END_OLDEST = sql(
    "DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions "
    "WHERE email = $1 ORDER BY created_us DESC LIMIT $2 OFFSET $2)"
)
_END_SESSIONS = sql("DELETE FROM sessions WHERE email = $1")
_END_OTHER_SESSIONS = sql("DELETE FROM sessions WHERE email = $1 AND token_hash <> $2")
_END_SESSION = sql("DELETE FROM sessions WHERE email = $1 AND id = $2")
_SEEN = sql("UPDATE sessions SET seen_us = greatest(seen_us, $1) WHERE token_hash = $2")
_REVEAL = sql(
    "UPDATE sessions SET revealed_project_id = $1, revealed_until_us = $2 WHERE token_hash = $3"
)


class SignIn:
    """Links, passwords and sessions; every change is audited in its transaction.

    Operators are identified by their normalized address.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_link(self, link: Link, *, actor: str) -> bool:
        """Store a link; False when its operator does not exist or is revoked."""

        async def work(tx: Transaction) -> bool:
            if link.email is not None and await tx.row(HOLD, link.email) is None:
                return False
            await tx.run(_END_EXPIRED_LINKS, link.created_us)
            await tx.run(_ADD_LINK, link.token_hash, link.email, link.created_us, link.expires_us)
            await tx.run(_END_OLDEST_LINKS, LINKS_MAX)
            detail = {"email": link.email}
            await write_audit(tx, link.created_us, actor, None, "sign_in.link", detail)
            return True

        return await self._database.write(work)

    async def link(self, token_hash: bytes, now_us: int) -> Link | None:
        """A link that is still valid."""
        row = await self._database.read(lambda tx: tx.row(_LINK, token_hash, now_us))
        return None if row is None else _link(row)

    async def use_link(
        self, token_hash: bytes, password_hash: str, session: Session, owner_token_hash: bytes
    ) -> bool:
        """Set the password of `session.email` and sign in, in one transaction.

        This ends the link and all other sessions and links of that operator. A link without an
        address makes its user an owner.

        Args:
            owner_token_hash: of a token that is never shown, for an operator who is created by
                this.

        Returns:
            False when the link is no longer valid, or belongs to another operator.
        """
        now_us, email = session.created_us, session.email

        async def work(tx: Transaction) -> bool:
            row = await tx.row(_HOLD_LINK, token_hash, now_us)
            if row is None or _link(row).email not in (None, email):
                return False
            if _link(row).email is None:
                await tx.run(_ADD_OWNER, session.id, email, owner_token_hash, now_us)
                detail = {"email": email, "is_owner": True}
                await write_audit(tx, now_us, "sign-in link", None, "operator.create", detail)
            if not await tx.run(_SET_PASSWORD, password_hash, email):
                return False
            await tx.run(_END_LINKS, token_hash, email)
            await tx.run(_END_SESSIONS, email)
            await _open(tx, session, "link")
            return True

        return await self._database.write(work)

    async def count_try(self, subjects: Sequence[Throttle], now_us: int) -> int:
        """Count an attempt before it is made, so that concurrent attempts cannot exceed the limit.

        Returns:
            0, or how many microseconds to wait before the next attempt; then nothing was counted.
        """
        names = sorted(subject.subject for subject in subjects)
        tries_max = {subject.subject: subject.tries_max for subject in subjects}
        start_us = now_us - TRIES_WINDOW_US

        async def work(tx: Transaction) -> int:
            await tx.run(_FORGET_OLD_TRIES, start_us)
            await tx.run_many(_BEGIN_TRIES, [(name, now_us) for name in names])
            waits_us = [
                since_us - start_us
                for name, since_us, tries in await tx.rows(HOLD_TRIES, names)
                if tries >= tries_max[name]
            ]
            await tx.run(_FORGET_UNCOUNTED if waits_us else COUNT_TRY, names)
            return max(waits_us, default=0)

        return await self._database.write(work)

    async def password_hash(self, email: str) -> str | None:
        """Hash of an operator's password; None for one who cannot sign in with a password."""
        found: str | None = await self._database.read(lambda tx: tx.value(_PASSWORD, email))
        return found

    async def open_session(self, session: Session, forgiven: Sequence[Throttle]) -> bool:
        """Sign in; counted attempts of `forgiven` are reset.

        An operator has at most `SESSIONS_OF_OPERATOR_MAX`: the oldest ends. False when the operator
        no longer exists.
        """
        names = [subject.subject for subject in forgiven]

        async def work(tx: Transaction) -> bool:
            if await tx.row(HOLD, session.email) is None:
                return False
            await tx.run(_FORGIVE, names)
            await _open(tx, session, "password")
            return True

        return await self._database.write(work)

    async def note_failure(self, email: str, address: str, now_us: int) -> None:
        """Audit a failed attempt; the address typed is kept only if it is an operator's."""

        async def work(tx: Transaction) -> None:
            known = await tx.row(FIND, email) is not None
            actor = f"operator {email}" if known else "somebody"
            detail = {"address": address}
            await write_audit(tx, now_us, actor, None, "session.refused", detail)

        await self._database.write(work)

    async def signed_in(self, token_hash: bytes, now_us: int) -> SignedIn | None:
        """The session of a token, None when it has expired or its operator is revoked."""

        async def read(tx: Transaction) -> SignedIn | None:
            row = await tx.row(_SESSION, token_hash, *session_limits_us(now_us))
            if row is None:
                return None
            session = _session(row)
            operator = await tx.row(FIND, session.email)
            if operator is None:
                return None
            return SignedIn(
                session=session,
                is_owner=bool(operator[0]),
                roles={
                    project_id: Role(role)
                    for project_id, role in await tx.rows(ROLES, session.email)
                },
            )

        return await self._database.read(read)

    async def seen(self, token_hash: bytes, now_us: int) -> None:
        """Record that the session was used."""
        await self._database.write(lambda tx: tx.run(_SEEN, now_us, token_hash))

    async def sessions(self, email: str, now_us: int) -> Sequence[Session]:
        """Sessions of an operator, the one used last first."""
        limits = session_limits_us(now_us)
        rows = await self._database.read(lambda tx: tx.rows(SESSIONS, email, *limits))
        return [_session(row) for row in rows]

    async def end_session(self, email: str, session_id: str, now_us: int, *, action: str) -> bool:
        """End one session of an operator; `action` is what the audit calls it."""

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_END_SESSION, email, session_id):
                return False
            detail = {"session": session_id}
            await write_audit(tx, now_us, f"operator {email}", None, action, detail)
            return True

        return await self._database.write(work)

    async def set_password(self, email: str, password_hash: str, keep: bytes, now_us: int) -> bool:
        """Set a password and end every session but the one whose token hash is `keep`."""

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_SET_PASSWORD, password_hash, email):
                return False
            await tx.run(_END_OTHER_SESSIONS, email, keep)
            await tx.run(_END_LINKS_OF, email)
            actor = f"operator {email}"
            await write_audit(tx, now_us, actor, None, "operator.set_password", {})
            return True

        return await self._database.write(work)

    async def reveal(
        self, signed_in: SignedIn, project_id: int, until_us: int, now_us: int, path: str
    ) -> None:
        """Show personal data of a project to a session until then; 0 masks it again.

        Showing is audited with the page it was asked on.
        """
        session = signed_in.session

        async def work(tx: Transaction) -> None:
            await tx.run(_REVEAL, project_id, until_us, session.token_hash)
            if until_us:
                detail = {"page": path, "session": session.id}
                action = "personal_data.reveal"
                await write_audit(tx, now_us, signed_in.actor, project_id, action, detail)

        await self._database.write(work)


def session_limits_us(now_us: int) -> tuple[int, int]:
    """`(idle, old)`: a session is alive when `seen_us > idle AND created_us > old`."""
    return now_us - SESSION_IDLE_US, now_us - SESSION_US


async def _open(tx: Transaction, session: Session, by: str) -> None:
    """Add a session; those that are over go, and the oldest of an operator who has too many."""
    await tx.run(_END_OVER, *session_limits_us(session.created_us))
    names = ("token_hash", "id", "email", "created_us", "seen_us", "address", "browser")
    await tx.run(_ADD_SESSION, *(getattr(session, name) for name in names))
    await tx.run(END_OLDEST, session.email, SESSIONS_OF_OPERATOR_MAX)
    detail = {"session": session.id, "address": session.address, "by": by}
    actor = f"operator {session.email}"
    await write_audit(tx, session.created_us, actor, None, "session.open", detail)


def _session(row: Row) -> Session:
    token_hash, session_id, email, created_us, seen_us, address, browser, project_id, until = row
    return Session(
        token_hash=token_hash,
        id=session_id,
        email=email,
        created_us=created_us,
        seen_us=seen_us,
        address=address,
        browser=browser,
        revealed_project_id=project_id,
        revealed_until_us=until,
    )


def _link(row: Row) -> Link:
    token_hash, email, created_us, expires_us = row
    return Link(token_hash=token_hash, email=email, created_us=created_us, expires_us=expires_us)
