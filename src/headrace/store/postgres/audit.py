"""Entries about who changed what, written in the transaction of the change."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.store.contract_operators import AUDIT_KEPT_PER_PROJECT, AUDIT_KEPT_US
from headrace.store.postgres.database import Connection

_INSERT = "INSERT INTO audit (at_us, actor, project_id, action, detail) VALUES ($1, $2, $3, $4, $5)"

# One seek finds whether a project has entries that old at all.
OLDEST = "SELECT at_us FROM audit WHERE {of} ORDER BY id LIMIT 1"
REMOVE = (
    "DELETE FROM audit WHERE at_us < $1 AND id IN (SELECT id FROM audit WHERE {of} "
    "AND id <= (SELECT id FROM audit WHERE {of} ORDER BY id DESC LIMIT 1 OFFSET $2) "
    "ORDER BY id LIMIT $3) RETURNING id"
)
# Besides those of projects: handlers, which belong to all, and what is about the whole store.
_PROJECTS = "SELECT id FROM projects UNION ALL SELECT 0"


async def write_audit(
    connection: Connection,
    at_us: int,
    actor: str,
    project_id: int | None,
    action: str,
    detail: dict[str, Any],
) -> None:
    """Add an entry; `detail` holds ids and settings, never a secret or a payload."""
    text = msgspec.json.encode(detail).decode()
    await connection.execute(_INSERT, at_us, actor, project_id, action, text)


async def prune_audit(connection: Connection, now_us: int, limit: int) -> int:
    """See `headrace.store.contract_operators.OperatorStore.prune_audit`."""
    before_us, removed = now_us - AUDIT_KEPT_US, 0
    parts = ["project_id IS NULL"]
    parts += [f"project_id = {row[0]:d}" for row in await connection.fetch(_PROJECTS)]
    for of in parts:
        oldest = await connection.fetchval(OLDEST.format(of=of))
        if oldest is not None and oldest < before_us:
            remove = REMOVE.format(of=of)
            kept = AUDIT_KEPT_PER_PROJECT
            removed += len(await connection.fetch(remove, before_us, kept, limit))
    return removed
