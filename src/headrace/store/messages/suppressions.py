"""Addresses that get no mail, and why."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.messages.feedback.soft_bounces import address_is_bad
from headrace.domain.messages.guardrails import Suppression
from headrace.domain.messages.kinds import SuppressionReason, SuppressionScope
from headrace.domain.messages.requests import SuppressionFields
from headrace.domain.messages.suppression_files import Listed
from headrace.store.access.audit import write_audit
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contract.messages import Suppressed
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.keys import StoredKeys

COLUMNS = "id, project_id, reason, scope, email, note, evidence, created_by, since_us"

OF_ADDRESSES = sql(
    "SELECT address_hash, reason, scope FROM suppressions "
    "WHERE project_id = $1 AND address_hash = ANY($2::bytea[])"
)
# A wider scope is never narrowed by a later entry for the same reason.
_INSERT = sql(
    f"INSERT INTO suppressions ({COLUMNS}, address_hash) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (project_id, address_hash, reason) DO UPDATE SET "
    "scope = CASE WHEN suppressions.scope = 'all' THEN 'all' ELSE excluded.scope END, "
    "email = coalesce(suppressions.email, excluded.email) "
    f"RETURNING {COLUMNS}"
)
# A file does not bring back an address that was erased: the hash applies without it.
_IMPORT = sql(
    f"INSERT INTO suppressions ({COLUMNS}, address_hash) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (project_id, address_hash, reason) DO UPDATE SET "
    "scope = CASE WHEN suppressions.scope = 'all' THEN 'all' ELSE excluded.scope END "
    "RETURNING id"
)
_GET_TEXT = f"SELECT {COLUMNS} FROM suppressions WHERE project_id = $1"
GET = sql(f"{_GET_TEXT} AND id = $2")
_PAGE = "AND (since_us, id) < ($2, $3) ORDER BY since_us DESC, id DESC LIMIT $4"
LIST = sql(f"{_GET_TEXT} {_PAGE}")
LIST_BY_REASON = sql(f"{_GET_TEXT} AND reason = $5 {_PAGE}")
# A range of the index instead of LIKE, whose use of an index depends on the database.
STARTING = sql(
    f'{_GET_TEXT} AND email COLLATE "C" >= $2 AND email COLLATE "C" < $3 '
    'ORDER BY email COLLATE "C" LIMIT $4'
)
# By the hash, which also finds an entry whose address was erased.
OF_ADDRESS = sql(f"{_GET_TEXT} AND address_hash = $2 ORDER BY reason")
_DELETE = sql(f"DELETE FROM suppressions WHERE project_id = $1 AND id = $2 RETURNING {COLUMNS}")
_SOFT = sql(
    "INSERT INTO soft_bounces (project_id, address_hash, count, first_us, last_us) "
    "VALUES ($1, $2, 1, $3, $3) ON CONFLICT (project_id, address_hash) DO UPDATE SET "
    "count = soft_bounces.count + 1, last_us = excluded.last_us RETURNING count, first_us"
)
_NO_SOFT = sql("DELETE FROM soft_bounces WHERE project_id = $1 AND address_hash = $2")
_AFTER_ALL = (BIGINT_MAX, "~")
#: Entries of an import that one transaction writes.
SLICE = 200


class Suppressions:
    """The suppression lists of all projects."""

    def __init__(self, database: Database, keys: StoredKeys) -> None:
        self._database = database
        self._keys = keys

    async def add(
        self, project_id: int, fields: SuppressionFields, now_us: int, *, actor: str
    ) -> Suppressed:
        """Add an address to the list by hand; an existing entry is widened, never narrowed."""
        keys = await self._keys.get()

        async def work(tx: Transaction) -> Suppressed:
            entry = Entry(
                hashed=keys.address_hash(project_id, fields.email),
                email=fields.email,
                reason=SuppressionReason.MANUAL,
                scope=fields.scope,
                note=fields.note,
                actor=actor,
            )
            made = await suppress(tx, project_id, entry, now_us)
            await _audit(tx, now_us, actor, "suppression.add", made)
            return made

        return await self._database.write(work)

    async def import_slice(
        self, project_id: int, entries: Sequence[Listed], now_us: int, *, actor: str
    ) -> int:
        """Add addresses of a file, at most `SLICE`; an existing entry is widened, never narrowed.

        Returns:
            How many were not on the list.
        """
        keys = await self._keys.get()

        async def work(tx: Transaction) -> int:
            made = 0
            # Two imports at the same time lock the same rows in the same order.
            hashed = [(keys.address_hash(project_id, one.email), one) for one in entries]
            for address_hash, one in sorted(hashed, key=lambda pair: pair[0]):
                new_id = uuid_text(new_uuid())
                since_us = now_us if one.since_us is None else min(one.since_us, now_us)
                kept = await tx.value(
                    _IMPORT,
                    *(new_id, project_id, one.reason.value, one.scope.value),
                    *(one.email, one.note, one.evidence, actor, since_us, address_hash),
                )
                made += kept == new_id
            detail = {"added": made, "already_listed": len(entries) - made}
            await write_audit(tx, now_us, actor, project_id, "suppression.import", detail)
            return made

        return await self._database.write(work)

    async def complaint_scope(self, project_id: int) -> SuppressionScope:
        """Which mail a complaint suppresses in a project."""
        policies = await self._database.read(lambda tx: read_sending_policies(tx, project_id))
        return policies.complaint_scope

    async def starting(self, project_id: int, text: str, *, limit: int) -> Sequence[Suppressed]:
        """Entries whose address starts with a text, by address; those of erased people do not."""
        bounds = (text, text + "\U0010ffff")
        rows = await self._database.read(lambda tx: tx.rows(STARTING, project_id, *bounds, limit))
        return [suppressed(row) for row in rows]

    async def remove(
        self, project_id: int, suppression_id: str, now_us: int, *, actor: str
    ) -> Suppressed | None:
        """Remove an entry from the list; None when there is none."""

        async def work(tx: Transaction) -> Suppressed | None:
            row = await tx.row(_DELETE, project_id, suppression_id)
            if row is None:
                return None
            gone = suppressed(row)
            await _audit(tx, now_us, actor, "suppression.remove", gone)
            return gone

        return await self._database.write(work)

    async def get(self, project_id: int, suppression_id: str) -> Suppressed | None:
        """One entry."""
        row = await self._database.read(lambda tx: tx.row(GET, project_id, suppression_id))
        return None if row is None else suppressed(row)

    async def of_address(self, project_id: int, email: str) -> Sequence[Suppressed]:
        """Entries of a normalized address, also those whose address is gone."""
        hashed = (await self._keys.get()).address_hash(project_id, email)
        rows = await self._database.read(lambda tx: tx.rows(OF_ADDRESS, project_id, hashed))
        return [suppressed(row) for row in rows]

    async def list(
        self,
        project_id: int,
        *,
        reason: SuppressionReason | None = None,
        before: tuple[int, str] | None = None,
        limit: int,
    ) -> Sequence[Suppressed]:
        """Entries of a project, newest first, before `(since_us, id)`."""
        page = (project_id, *(_AFTER_ALL if before is None else before), limit)
        if reason is None:
            rows = await self._database.read(lambda tx: tx.rows(LIST, *page))
        else:
            rows = await self._database.read(
                lambda tx: tx.rows(LIST_BY_REASON, *page, reason.value)
            )
        return [suppressed(row) for row in rows]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry to add to the list."""

    #: Keyed hash of the address, and the address.
    hashed: bytes
    email: str
    reason: SuppressionReason
    scope: SuppressionScope
    note: str = ""
    evidence: str = ""
    actor: str


async def suppress(tx: Transaction, project_id: int, entry: Entry, now_us: int) -> Suppressed:
    """Add an address to the list, in the caller's transaction."""
    row = await tx.row(
        _INSERT,
        *(uuid_text(new_uuid()), project_id, entry.reason.value, entry.scope.value),
        *(entry.email, entry.note, entry.evidence, entry.actor, now_us, entry.hashed),
    )
    assert row is not None
    return suppressed(row)


async def suppressions_of(
    tx: Transaction, project_id: int, hashes: Sequence[bytes]
) -> dict[bytes, tuple[Suppression, ...]]:
    """Suppressions of addresses, by their hash."""
    found: dict[bytes, tuple[Suppression, ...]] = {}
    for hashed, reason, scope in await tx.rows(OF_ADDRESSES, project_id, list(hashes)):
        entry = Suppression(reason=SuppressionReason(reason), scope=SuppressionScope(scope))
        found[bytes(hashed)] = (*found.get(bytes(hashed), ()), entry)
    return found


async def count_soft_bounce(
    tx: Transaction, project_id: int, hashed: bytes, now_us: int, most: int
) -> bool:
    """Count a soft bounce; returns whether the address counts as bad from now on."""
    row = await tx.row(_SOFT, project_id, hashed, now_us)
    assert row is not None
    hard = address_is_bad(row[0], row[1], now_us, most)
    if hard:
        await forget_soft_bounces(tx, project_id, hashed)
    return hard


async def forget_soft_bounces(tx: Transaction, project_id: int, hashed: bytes) -> None:
    """Reset the count of an address that accepts mail again."""
    await tx.run(_NO_SOFT, project_id, hashed)


async def _audit(tx: Transaction, now_us: int, actor: str, action: str, entry: Suppressed) -> None:
    # Without the address, which the audit would keep beyond an erasure.
    detail = {"suppression": entry.id, "reason": entry.reason.value, "scope": entry.scope.value}
    await write_audit(tx, now_us, actor, entry.project_id, action, detail)


def suppressed(row: Row) -> Suppressed:
    """The entry of a row of `COLUMNS`."""
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    values["reason"] = SuppressionReason(values["reason"])
    values["scope"] = SuppressionScope(values["scope"])
    return Suppressed(**values)
