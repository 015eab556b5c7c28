"""Rows of subscribers: how they are read, and what every change of one entails."""

from __future__ import annotations

from typing import Any

import apsw

from headrace.store.access.audit import write_audit
from headrace.store.contract_delivery import Subscriber
from headrace.store.engine.transaction import drive
from headrace.store.rows.subscribers import COLUMNS, subscriber
from headrace.store.sqlite.transaction import SqliteTransaction

_GET = f"SELECT {COLUMNS} FROM subscribers WHERE id = ? AND project_id = ? AND kind = 'webhook'"  # noqa: S608
#: No change of a subscriber goes without it: by it workers know that their rules are old.
_BUMP = (
    "INSERT INTO meta (name, value) VALUES ('subscribers_version', 1) "
    "ON CONFLICT (name) DO UPDATE SET value = value + 1"
)
_DISABLE = (
    "UPDATE subscribers SET enabled = 0, disabled_reason = ?, disabled_us = ?, updated_us = ? "
    "WHERE id = ? AND enabled = 1 AND updated_us <= ? RETURNING project_id"
)


def find_webhook(
    connection: apsw.Connection, project_id: int, subscriber_id: str, now_us: int
) -> Subscriber | None:
    """A webhook of a project."""
    row = connection.execute(_GET, (subscriber_id, project_id)).fetchone()
    return None if row is None else subscriber(row, now_us)


def note_change(
    connection: apsw.Connection,
    at_us: int,
    actor: str,
    project_id: int,
    action: str,
    detail: dict[str, Any],
) -> None:
    """Audit a change and tell the workers of it."""
    drive(write_audit(SqliteTransaction(connection), at_us, actor, project_id, action, detail))
    connection.execute(_BUMP)


def disable(
    connection: apsw.Connection,
    subscriber_id: str,
    reason: str,
    now_us: int,
    *,
    unchanged_since_us: int,
    actor: str,
) -> bool:
    """Disable a subscriber, unless it was changed after `unchanged_since_us`."""
    values = (reason, now_us, now_us, subscriber_id, unchanged_since_us)
    row: Any = connection.execute(_DISABLE, values).fetchone()
    if row is None:
        return False
    detail = {"subscriber": subscriber_id, "reason": reason}
    note_change(connection, now_us, actor, row[0], "subscriber.disable", detail)
    return True
