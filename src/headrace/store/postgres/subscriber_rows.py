"""Rows of subscribers: how they are read, and what every change of one entails.

Whoever changes subscribers takes the lock first, so no two changes are under way at a time; rows of
deliveries are locked before it, never after.
"""

from __future__ import annotations

from typing import Any

from headrace.store.access.audit import write_audit
from headrace.store.contract_delivery import Subscriber
from headrace.store.postgres.database import Connection
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.subscribers import COLUMNS, subscriber

_GET = f"SELECT {COLUMNS} FROM subscribers WHERE id = $1 AND project_id = $2 AND kind = 'webhook'"  # noqa: S608
_LOCK = (
    "INSERT INTO meta (name, value) VALUES ('subscribers_version', '0') "
    "ON CONFLICT (name) DO UPDATE SET value = meta.value"
)
#: No change of a subscriber goes without it: by it workers know that their rules are old.
_BUMP = "UPDATE meta SET value = (value::bigint + 1)::text WHERE name = 'subscribers_version'"
_DISABLE = (
    "UPDATE subscribers SET enabled = false, disabled_reason = $1, disabled_us = $2, "
    "updated_us = $2 WHERE id = $3 AND enabled AND updated_us <= $4 RETURNING project_id"
)


async def find_webhook(
    connection: Connection, project_id: int, subscriber_id: str, now_us: int
) -> Subscriber | None:
    """A webhook of a project."""
    row = await connection.fetchrow(_GET, subscriber_id, project_id)
    return None if row is None else subscriber(row, now_us)


async def lock_changes(connection: Connection) -> None:
    """Wait until nobody else changes subscribers."""
    await connection.execute(_LOCK)


async def note_change(
    connection: Connection,
    at_us: int,
    actor: str,
    project_id: int,
    action: str,
    detail: dict[str, Any],
) -> None:
    """Audit a change and tell the workers of it."""
    await write_audit(PostgresTransaction(connection), at_us, actor, project_id, action, detail)
    await connection.execute(_BUMP)


async def disable(
    connection: Connection,
    subscriber_id: str,
    reason: str,
    now_us: int,
    *,
    unchanged_since_us: int,
    actor: str,
) -> bool:
    """Disable a subscriber, unless it was changed after `unchanged_since_us`."""
    project_id = await connection.fetchval(
        _DISABLE, reason, now_us, subscriber_id, unchanged_since_us
    )
    if project_id is None:
        return False
    detail = {"subscriber": subscriber_id, "reason": reason}
    await note_change(connection, now_us, actor, project_id, "subscriber.disable", detail)
    return True
