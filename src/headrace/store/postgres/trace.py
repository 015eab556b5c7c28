"""Everything about one event, read from PostgreSQL in one snapshot."""

from __future__ import annotations

from typing import Any

from headrace.domain.events import StoredEvent
from headrace.domain.ids import lane_of_id, sequence_of_id
from headrace.store.contract_trace import ROWS_MAX, ProcessingAttempt, TraceFacts
from headrace.store.deliveries.delivery_lists import deliveries_of_event
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.events import GET, stored_event
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.trace import (
    DEAD_LETTER_COLUMNS,
    SUBSCRIBER_COLUMNS,
    key_used,
    traced_dead_letter,
    traced_subscriber,
)

_OF_EVENT = "WHERE lane = $1 AND sequence = $2"
DECISION = f"SELECT resolution, processed_us FROM outcomes {_OF_EVENT}"  # noqa: S608
HELD = f"SELECT owner, attempt FROM work {_OF_EVENT} AND owner IS NOT NULL"  # noqa: S608
LEASE = "SELECT lease_until_us FROM workers WHERE owner = $1"
RETRY = f"SELECT due_us FROM work_retries {_OF_EVENT}"  # noqa: S608
REPEATS = (
    "SELECT at_us, api_key_id, request_id, mismatch FROM key_repeats "  # noqa: S608
    f"{_OF_EVENT} ORDER BY number LIMIT {ROWS_MAX}"
)
ATTEMPTS = (
    "SELECT number, at_us, duration_us, cause, error FROM processing_attempts "  # noqa: S608
    f"{_OF_EVENT} ORDER BY number LIMIT {ROWS_MAX}"
)
DEAD_LETTERS = (
    f"SELECT {DEAD_LETTER_COLUMNS} FROM dead_letters "  # noqa: S608
    f"{_OF_EVENT} ORDER BY number LIMIT {ROWS_MAX}"
)
SUBSCRIBERS = (
    f"SELECT {SUBSCRIBER_COLUMNS} FROM subscribers "  # noqa: S608
    f"WHERE project_id IN (0, $1) ORDER BY project_id, created_us LIMIT {ROWS_MAX}"
)


class PostgresTrace:
    """See `headrace.store.contract_trace.TraceStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facts(self, project_id: int, event_id: bytes) -> TraceFacts | None:
        place = (lane_of_id(event_id), sequence_of_id(event_id))

        async def read(connection: Connection) -> TraceFacts | None:
            row = await connection.fetchrow(GET, *place, event_id, project_id)
            return None if row is None else await _facts(connection, place, stored_event(row))

        return await self._database.read(read, snapshot=True)


async def _facts(connection: Connection, place: tuple[int, int], event: StoredEvent) -> TraceFacts:
    async def rows(sql: str) -> list[Any]:
        return await connection.fetch(sql, *place)

    decision = await connection.fetchrow(DECISION, *place)
    lease_until_us, attempt = await _lease(connection, place)
    retry = await connection.fetchrow(RETRY, *place)
    subscribers = await connection.fetch(SUBSCRIBERS, event.project_id)
    return TraceFacts(
        event=event,
        resolution=decision and decision[0],
        processed_us=decision and decision[1],
        lease_until_us=lease_until_us,
        leased_attempt=attempt,
        retry_due_us=retry and retry[0],
        repeats=[key_used(row) for row in await rows(REPEATS)],
        attempts=[ProcessingAttempt(*row) for row in await rows(ATTEMPTS)],
        deliveries=await deliveries_of_event(
            PostgresTransaction(connection), event.project_id, event.sequence
        ),
        dead_letters=[traced_dead_letter(row) for row in await rows(DEAD_LETTERS)],
        subscribers=[traced_subscriber(row) for row in subscribers],
    )


async def _lease(connection: Connection, place: tuple[int, int]) -> tuple[int | None, int]:
    """End of the lease of the worker that holds the event, and which attempt that is.

    A worker has one lease for all it holds. One that has gone holds nothing, whatever is written
    beside the event until its lane is worked again.
    """
    held = await connection.fetchrow(HELD, *place)
    if held is None:
        return None, 0
    until_us = await connection.fetchval(LEASE, held[0])
    return (None, 0) if until_us is None else (until_us, held[1])
