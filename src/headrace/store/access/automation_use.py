"""Which automations use an object of a project, so that it is not deleted while they need it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Automations that are listed.
USERS_MAX = 100
# Publishing and deleting wait for each other: neither misses what the other one does.
LOCK_PROJECT = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
# A published definition holds ids, never names. Versions are those that may start runs, also once
# the automation is resumed, and those with open runs.
USERS = sql(
    "SELECT a.id, a.name FROM automations a WHERE a.project_id = $1 AND EXISTS "
    "(SELECT 1 FROM automation_versions v WHERE v.automation_id = a.id AND "
    "((a.status IN ('active', 'paused') AND a.version = v.number) OR EXISTS "
    "(SELECT 1 FROM automation_runs r WHERE r.automation_id = v.automation_id "
    "AND r.version = v.number AND r.due_us IS NOT NULL)) "
    "AND strpos(v.definition, $2) > 0) ORDER BY a.created_us LIMIT $3"
)


class AutomationUser(msgspec.Struct, frozen=True):
    """An automation that uses an object."""

    id: str
    name: str


class UsedByAutomationsError(Exception):
    """Automations use the object, so it was not deleted.

    Attributes:
        users: up to `USERS_MAX` of them, oldest first.
    """

    def __init__(self, users: Sequence[AutomationUser]) -> None:
        super().__init__(f"used by {len(users)} automations")
        self.users = tuple(users)


async def reject_used(tx: Transaction, project_id: int, object_id: str) -> None:
    """Check before deleting an object that no published automation refers to its id.

    No version that refers to it can be published until the end of the transaction.

    Raises:
        UsedByAutomationsError: some do.
    """
    await tx.rows(LOCK_PROJECT, project_id)
    quoted = msgspec.json.encode(object_id).decode()
    rows = await tx.rows(USERS, project_id, quoted, USERS_MAX)
    if rows:
        raise UsedByAutomationsError([AutomationUser(*row) for row in rows])
