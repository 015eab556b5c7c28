"""The last check of each sending domain's records."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

GET = sql("SELECT findings, at_us FROM domain_checks WHERE project_id = $1 AND domain = $2")
_WRITE = sql(
    "INSERT INTO domain_checks (project_id, domain, findings, at_us) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (project_id, domain) DO UPDATE SET findings = excluded.findings, "
    "at_us = excluded.at_us"
)
_REMOVE = sql("DELETE FROM domain_checks WHERE project_id = $1 AND domain = $2")


class CheckFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, and what was found."""

    check: str
    #: `ok`, `warn` or `fail`.
    level: str
    found: str
    #: Empty when all is well.
    advice: str = ""


class DomainCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check."""

    findings: tuple[CheckFinding, ...]
    at_us: int


class DomainChecks:
    """Results of all projects; each domain has the last one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(
        self, project_id: int, domain: str, findings: Sequence[CheckFinding], now_us: int
    ) -> None:
        """Replace the result of a domain."""
        text = msgspec.json.encode(list(findings)).decode()
        await self._database.write(lambda tx: tx.run(_WRITE, project_id, domain, text, now_us))

    async def get(self, project_id: int, domain: str) -> DomainCheck | None:
        """The last result; None before the first check."""
        row = await self._database.read(lambda tx: tx.row(GET, project_id, domain))
        if row is None:
            return None
        findings = msgspec.json.decode(row[0], type=tuple[CheckFinding, ...])
        return DomainCheck(findings=findings, at_us=row[1])


async def remove_check(tx: Transaction, project_id: int, domain: str) -> None:
    """Remove the result of a domain that is deleted."""
    await tx.run(_REMOVE, project_id, domain)
