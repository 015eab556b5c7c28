"""Entries about who changed what, written in the transaction of the change."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec


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
