"""Entries about who changed what, written in the transaction of the change."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.store.postgres.database import Connection

_INSERT = "INSERT INTO audit (at_us, actor, project_id, action, detail) VALUES ($1, $2, $3, $4, $5)"


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
