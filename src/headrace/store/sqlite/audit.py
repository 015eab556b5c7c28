"""Entries about who changed what, written in the transaction of the change."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from headrace.store.contract_operators import AUDIT_KEPT_PER_PROJECT, AUDIT_KEPT_US

# One seek finds whether a project has entries that old at all.
_OLDEST = "SELECT at_us FROM audit WHERE project_id IS ? ORDER BY id LIMIT 1"
_REMOVE = (
    "DELETE FROM audit WHERE at_us < ?2 AND id IN (SELECT id FROM audit WHERE project_id IS ?1 "
    "AND id <= (SELECT id FROM audit WHERE project_id IS ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3) "
    "ORDER BY id LIMIT ?4)"
)


def write_audit(
    connection: apsw.Connection,
    at_us: int,
    actor: str,
    project_id: int | None,
    action: str,
    detail: dict[str, Any],
) -> None:
    """Add an entry; `detail` holds ids and settings, never a secret or a payload."""
    connection.execute(
        "INSERT INTO audit (at_us, actor, project_id, action, detail) VALUES (?, ?, ?, ?, ?)",
        (at_us, actor, project_id, action, msgspec.json.encode(detail).decode()),
    )


def prune_audit(connection: apsw.Connection, now_us: int, limit: int) -> int:
    """See `headrace.store.contract_operators.OperatorStore.prune_audit`."""
    before_us, removed = now_us - AUDIT_KEPT_US, 0
    # Besides those of projects: handlers, which belong to all, and what is about the whole store.
    projects: list[int | None] = [0, None]
    projects += [int(str(row[0])) for row in connection.execute("SELECT id FROM projects")]
    for project_id in projects:
        oldest: Any = connection.execute(_OLDEST, (project_id,)).fetchone()
        if oldest is not None and oldest[0] < before_us:
            connection.execute(_REMOVE, (project_id, before_us, AUDIT_KEPT_PER_PROJECT, limit))
            removed += connection.changes()
    return removed
