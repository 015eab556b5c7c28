"""Reading deliveries with their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.store.contract_delivery import ATTEMPTS_KEPT, Attempt, DeliveryRecord
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.database import Connection
from headrace.store.rows.deliveries import OF_EVENT_MAX, attempt_of, delivery_record

_AFTER_ALL = 2**62

_COLUMNS = (
    "SELECT d.lane, d.number, d.id, d.subscriber_id, e.id, e.event, d.state, d.attempt, d.due_us, "
    "d.created_us, d.finished_us, d.last_error"
)
OF_SUBSCRIBER = (
    f"{_COLUMNS} FROM deliveries AS d "
    "LEFT JOIN events AS e ON e.lane = d.lane AND e.sequence = d.sequence "
    "WHERE d.subscriber_id = $1 AND d.project_id = $2 AND d.number < $3 "
    "ORDER BY d.number DESC LIMIT $4"
)
OF_EVENT = (
    f"{_COLUMNS} FROM events AS e "
    "JOIN deliveries AS d ON d.lane = e.lane AND d.sequence = e.sequence "
    "WHERE e.project_id = $1 AND e.sequence = $2 AND d.project_id = $1 "
    f"ORDER BY d.number LIMIT {OF_EVENT_MAX}"
)
ATTEMPTS = """
SELECT a.lane, a.delivery_number, a.number, a.at_us, a.duration_us, a.cause, a.error,
    a.http_status, a.excerpt
FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)
JOIN delivery_attempts AS a ON a.lane = k.lane AND a.delivery_number = k.number
ORDER BY a.lane, a.delivery_number, a.number
"""


async def deliveries_of_subscriber(
    connection: Connection,
    project_id: int,
    subscriber_id: str,
    before: int | None,
    limit: int,
) -> Sequence[DeliveryRecord]:
    """See `DeliveryStore.list`."""
    below = _AFTER_ALL if before is None else before
    rows = await connection.fetch(OF_SUBSCRIBER, subscriber_id, project_id, below, limit)
    return await _records(connection, rows)


async def deliveries_of_event(
    connection: Connection, project_id: int, sequence: int
) -> Sequence[DeliveryRecord]:
    """See `DeliveryStore.of_event`."""
    return await _records(connection, await connection.fetch(OF_EVENT, project_id, sequence))


async def _records(connection: Connection, rows: Sequence[Any]) -> list[DeliveryRecord]:
    if not rows:
        return []
    names = columns_of([row[:2] for row in rows], 2)
    attempts: dict[tuple[int, int], list[Attempt]] = {}
    for lane, number, *attempt in await connection.fetch(ATTEMPTS, *names):
        attempts.setdefault((lane, number), []).append(attempt_of(attempt))
    return [
        delivery_record(row[1:], attempts.get((row[0], row[1]), [])[-ATTEMPTS_KEPT:])
        for row in rows
    ]
