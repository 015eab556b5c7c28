"""Takes back claims of dead workers, and those their owner lost track of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.store.contract.processing import Claimed, after_death
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.queues.postgres.failures import record_failure, record_first_deaths
from headrace.store.queues.postgres.rollups import add_rollups
from headrace.store.upkeep.rollup_counts import failed

HELD = (
    "SELECT lane, sequence, attempt, crashes, owner, project_id, queued_us FROM event_queue "
    "WHERE lane = ANY($1::smallint[]) AND owner IS NOT NULL LIMIT $2"
)
_FREE = (
    "UPDATE event_queue w SET owner = NULL, attempt = k.attempt, crashes = k.crashes "
    "FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::smallint[]) "
    "AS k (lane, sequence, attempt, crashes) WHERE w.lane = k.lane AND w.sequence = k.sequence"
)
_DROP = "DELETE FROM event_queue WHERE lane = $1 AND sequence = $2"
_PROJECT = "SELECT project_id FROM events WHERE lane = $1 AND sequence = $2"
# These are not processed: their payloads are not needed.
_EVENT = (
    "SELECT sequence, id, project_id, lane, event, contact_id, external_id, email, "
    "email_original, occurred_us, received_us, source FROM events WHERE lane = $1 AND sequence = $2"
)


async def take_back(
    connection: Connection,
    numbers: SequenceAllocator,
    owner: str,
    lanes: Sequence[int],
    *,
    limit: int,
    now_us: int,
) -> list[tuple[int, int]]:
    """Free up to `limit` claims: those of others count a death, the owner's own do not.

    Their dead workers no longer write: the lanes are the owner's.

    Returns:
        Project and queue position of each.
    """
    rows = await connection.fetch(HELD, lanes, limit)
    own = [(*row[:2], row[2] - 1, row[3]) for row in rows if row[4] == owner]
    others = [(*row[:3], row[3] + 1) for row in rows if row[4] != owner]
    first = [row for row in others if row[3] == 1]
    await connection.execute(_FREE, *columns_of([*own, *first], 4))
    await record_first_deaths(connection, [row[:2] for row in first], now_us)
    for row in others:
        if row[3] > 1:
            project_id = await connection.fetchval(_PROJECT, *row[:2])
            if project_id is None:
                # Erased since, with everything to record about it.
                continue
            retries = await _record_death(connection, numbers, row, now_us)
            counted = [failed(project_id, now_us, retries=retries)]
            await add_rollups(connection, min(lanes), counted)
    return [(row[5], row[6]) for row in rows]


async def _record_death(
    connection: Connection, numbers: SequenceAllocator, row: tuple[int, ...], now_us: int
) -> bool:
    """Take an event out of the queue; returns whether it is retried, or became a dead letter."""
    lane, sequence, attempt, deaths = row
    await connection.execute(_DROP, lane, sequence)
    failure = after_death(deaths, now_us)
    values: Any = await connection.fetchrow(_EVENT, lane, sequence)
    if values is not None:
        claimed = Claimed(*(*values, attempt, deaths, ""))
        await record_failure(connection, numbers, claimed, failure, now_us)
    return failure.retry_at_us is not None
