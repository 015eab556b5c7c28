"""Sending domains; every change is audited in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.access.sealing import KeyRing, Purpose
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.messages.kinds import DomainStatus
from headrace.domain.messages.warm_up import WarmUpChange
from headrace.store.access.audit import write_audit
from headrace.store.access.automation_use import reject_used
from headrace.store.access.sealing import opened
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.messages import DOMAINS_MAX, Domain
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.content.domain_checks import remove_check
from headrace.store.messages.warm_ups import change_warm_up, remove_warm_up

COLUMNS = (
    "id, project_id, name, status, track_opens, track_clicks, dkim_selector, dkim_key, "
    "verified_us, verified_by, created_us, updated_us"
)
_GET_TEXT = f"SELECT {COLUMNS} FROM domains WHERE project_id = $1"
GET = sql(f"{_GET_TEXT} AND id = $2")
BY_NAME = sql(f"{_GET_TEXT} AND name = $2")
LIST = sql(f"{_GET_TEXT} AND created_us < $2 ORDER BY created_us DESC LIMIT $3")
_INSERT = sql(
    f"INSERT INTO domains ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
)
_COUNT = sql("SELECT count(*), coalesce(max(created_us), 0) FROM domains WHERE project_id = $1")
# Serializes names and creation times of a project.
LOCK = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
_UPDATE = sql(
    "UPDATE domains SET track_opens = $3, track_clicks = $4, updated_us = $5 "
    "WHERE project_id = $1 AND id = $2"
)
_VERIFY = sql(
    "UPDATE domains SET status = $3, verified_us = $4, verified_by = $5, updated_us = $6 "
    "WHERE project_id = $1 AND id = $2"
)
_DELETE = sql("DELETE FROM domains WHERE project_id = $1 AND id = $2")


class TooManyDomainsError(Exception):
    """The project has `DOMAINS_MAX` domains."""


class Domains:
    """Domains of all projects. A name that is taken raises `StoreConflictError`.

    Args:
        keys: seal the private keys of the domains.
    """

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def create(
        self,
        project_id: int,
        name: str,
        now_us: int,
        *,
        dkim: tuple[str, str],
        track: tuple[bool, bool] = (True, True),
        verified_by: str | None = None,
        actor: str,
    ) -> Domain:
        """Create a domain.

        Args:
            name: lower-case ASCII.
            dkim: selector and private key in PEM.
            track: whether opens and clicks of marketing mail are tracked.
            verified_by: the operator who confirms it without a check; None: not verified yet.

        Raises:
            TooManyDomainsError: there are `DOMAINS_MAX` already.
        """

        async def work(tx: Transaction) -> Domain:
            await tx.rows(LOCK, project_id)
            if await tx.row(BY_NAME, project_id, name) is not None:
                field = "name"
                raise StoreConflictError(field)
            count, newest_us = await tx.row(_COUNT, project_id) or (0, 0)
            if count >= DOMAINS_MAX:
                raise TooManyDomainsError
            made_us = max(now_us, newest_us + 1)
            made = Domain(
                id=uuid_text(new_uuid()),
                project_id=project_id,
                name=name,
                status=DomainStatus.VERIFIED if verified_by else DomainStatus.PENDING,
                track_opens=track[0],
                track_clicks=track[1],
                dkim_selector=dkim[0],
                dkim_key=self._keys.seal(dkim[1], Purpose.DKIM),
                verified_us=made_us if verified_by else None,
                verified_by=verified_by,
                created_us=made_us,
                updated_us=made_us,
            )
            await tx.run(_INSERT, *(getattr(made, column) for column in COLUMNS.split(", ")))
            detail = {"domain": name, "verified_by": verified_by}
            await write_audit(tx, now_us, actor, project_id, "domain.create", detail)
            return made

        return await self._database.write(work)

    def private_key(self, domain: Domain) -> str:
        """The private key that signs mail of a domain, in PEM.

        Raises:
            SecretKeyError: it cannot be opened.
        """
        return opened(self._keys, domain.dkim_key, Purpose.DKIM)

    async def get(self, project_id: int, domain_id: str) -> Domain | None:
        """One domain, None when the project has no such domain."""
        return await self._database.read(lambda tx: _one(tx, project_id, domain_id))

    async def by_name(self, project_id: int, name: str) -> Domain | None:
        """The domain of that name."""
        row = await self._database.read(lambda tx: tx.row(BY_NAME, project_id, name))
        return None if row is None else domain(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Domain]:
        """Domains of a project, newest first, created before `before`."""
        below = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, below, limit))
        return [domain(row) for row in rows]

    async def update(
        self,
        project_id: int,
        domain_id: str,
        now_us: int,
        *,
        track_opens: bool | None = None,
        track_clicks: bool | None = None,
        warm_up: WarmUpChange | None = None,
        actor: str = "",
    ) -> Domain | None:
        """Change what is tracked, and the warm-up plan (audited); None leaves it as it is.

        Returns:
            None: there is no such domain.
        """

        async def work(tx: Transaction) -> Domain | None:
            held = await _one(tx, project_id, domain_id)
            if held is None:
                return None
            opens = held.track_opens if track_opens is None else track_opens
            clicks = held.track_clicks if track_clicks is None else track_clicks
            updated_us = max(now_us, held.updated_us)
            await tx.run(_UPDATE, project_id, domain_id, opens, clicks, updated_us)
            if warm_up is not None:
                await change_warm_up(tx, project_id, held.name, warm_up, now_us, actor)
            return await _one(tx, project_id, domain_id)

        return await self._database.write(work)

    async def verify(
        self, project_id: int, domain_id: str, now_us: int, *, verified_by: str | None, actor: str
    ) -> Domain | None:
        """Mark a domain as verified, or (None) as no longer verified."""

        async def work(tx: Transaction) -> Domain | None:
            held = await _one(tx, project_id, domain_id)
            if held is None:
                return None
            status = DomainStatus.PENDING if verified_by is None else DomainStatus.VERIFIED
            at_us = None if verified_by is None else now_us
            key = (project_id, domain_id)
            await tx.run(_VERIFY, *key, status.value, at_us, verified_by, now_us)
            detail: dict[str, Any] = {"domain": held.name, "verified_by": verified_by}
            await write_audit(tx, now_us, actor, project_id, "domain.verify", detail)
            return await _one(tx, project_id, domain_id)

        return await self._database.write(work)

    async def delete(
        self, project_id: int, domain_id: str, now_us: int, *, force: bool = False, actor: str
    ) -> bool:
        """Delete a domain; messages waiting to be sent from it fail. False when there is none.

        Args:
            force: also if automations use it.

        Raises:
            UsedByAutomationsError: automations use it.
        """

        async def work(tx: Transaction) -> bool:
            held = await _one(tx, project_id, domain_id)
            if held is None:
                return False
            if not force:
                await reject_used(tx, project_id, domain_id)
            await tx.run(_DELETE, project_id, domain_id)
            await remove_warm_up(tx, project_id, held.name)
            await remove_check(tx, project_id, held.name)
            detail = {"domain": held.name}
            await write_audit(tx, now_us, actor, project_id, "domain.delete", detail)
            return True

        return await self._database.write(work)


async def _one(tx: Transaction, project_id: int, domain_id: str) -> Domain | None:
    row = await tx.row(GET, project_id, domain_id)
    return None if row is None else domain(row)


def domain(row: Row) -> Domain:
    """The domain of a row of `COLUMNS`."""
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    values["status"] = DomainStatus(values["status"])
    for flag in ("track_opens", "track_clicks"):
        values[flag] = bool(values[flag])
    return Domain(**values)
