"""Removal of expired runs, with their notes, and of rejected starts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.access.policies import stored_policy
from headrace.store.automations.run_rows import key_of
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

#: Policy, and its default.
RETENTION_POLICY, RETENTION_DAYS = "run_retention_days", 90
_DAY_US = 86_400_000_000

_NAMED = "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id))"
_PROJECTS = sql("SELECT id FROM projects")
FINISHED = sql(
    "SELECT id FROM automation_runs WHERE project_id = $1 AND finished_us < $2 "
    "ORDER BY finished_us LIMIT $3"
)
REMOVE_NOTES = sql(f"DELETE FROM automation_notes WHERE (lane, run_id) IN {_NAMED}")
REMOVE_RUNS = sql(f"DELETE FROM automation_runs WHERE (lane, id) IN {_NAMED}")
OLD_REJECTED = sql(
    "SELECT lane, sequence, automation_id FROM rejected_starts WHERE project_id = $1 "
    "AND at_us < $2 ORDER BY at_us LIMIT $3"
)
REMOVE_REJECTED = sql(
    "DELETE FROM rejected_starts WHERE (lane, sequence, automation_id) IN "
    "(SELECT k.lane, k.sequence, k.id FROM unnest($1::smallint[], $2::bigint[], $3::text[]) "
    "AS k (lane, sequence, id))"
)


class RunRemoval:
    """Removal of what is older than the project's retention."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` runs and rejected starts that are past retention; how many."""
        removed = 0
        for (project_id,) in await self._database.read(lambda tx: tx.rows(_PROJECTS)):
            left = limit - removed
            if left < 1:
                break
            removed += await self._prune(project_id, now_us, left)
        return removed

    async def _prune(self, project_id: int, now_us: int, limit: int) -> int:
        async def find(tx: Transaction) -> tuple[list[str], list[Sequence[object]]]:
            days = await stored_policy(tx, project_id, RETENTION_POLICY) or RETENTION_DAYS
            before_us = now_us - int(days) * _DAY_US
            runs = [row[0] for row in await tx.rows(FINISHED, project_id, before_us, limit)]
            left = limit - len(runs)
            rejected = await tx.rows(OLD_REJECTED, project_id, before_us, left) if left else ()
            return runs, list(rejected)

        # Usually there is nothing: then the write lock of SQLite is not taken.
        runs, rejected = await self._database.read(find)
        if not runs and not rejected:
            return 0

        async def work(tx: Transaction) -> int:
            await remove_runs(tx, runs)
            await tx.run(REMOVE_REJECTED, *columns_of(rejected, 3))
            return len(runs) + len(rejected)

        return await self._database.write(work)


async def remove_runs(tx: Transaction, ids: Sequence[str]) -> dict[str, int]:
    """Remove runs with their notes; returns row counts by place."""
    keys = columns_of(sorted(key_of(each) for each in ids), 2)
    return {
        "automation_notes": await tx.run(REMOVE_NOTES, *keys),
        "automation_runs": await tx.run(REMOVE_RUNS, *keys),
    }
