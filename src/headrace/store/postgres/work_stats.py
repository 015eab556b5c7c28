"""What waits, over all lanes."""

from __future__ import annotations

from headrace.store.contract_processing import WorkStats
from headrace.store.postgres.database import Connection

COUNTED_MAX = 100_000
#: Projects of which the oldest event is looked for.
PROJECTS_MAX = 64

_NEXT_PROJECT = "SELECT project_id FROM work WHERE project_id > $1 ORDER BY project_id LIMIT 1"
_OLDEST = (
    "SELECT e.received_us FROM (SELECT lane, sequence FROM work WHERE project_id = $1 "
    "ORDER BY queued_us, sequence LIMIT 1) w "
    "JOIN events e ON e.lane = w.lane AND e.sequence = w.sequence"
)


async def read_stats(connection: Connection) -> WorkStats:
    """Count, each up to `COUNTED_MAX`."""

    async def count(rows: str) -> int:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {COUNTED_MAX}) AS n"  # noqa: S608
        return int(await connection.fetchval(sql))

    return WorkStats(
        ready=await count("work"),
        retrying=await count("work_retries"),
        deliveries=await count("deliveries WHERE state IN (0, 2)"),
        dead_letters=await count("dead_letters WHERE state = 0"),
        oldest_us=await _oldest(connection),
    )


async def _oldest(connection: Connection) -> int | None:
    found: list[int] = []
    project_id = -1
    for _ in range(PROJECTS_MAX):
        project_id = await connection.fetchval(_NEXT_PROJECT, project_id)
        if project_id is None:
            break
        received_us = await connection.fetchval(_OLDEST, project_id)
        if received_us is not None:
            found.append(received_us)
    return min(found, default=None)
