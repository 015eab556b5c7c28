"""Everything about one event, read in one snapshot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace.domain.events.event import StoredEvent
from headrace.domain.ids import lane_of_id
from headrace.store.contract.deliveries import DeliveryRecord
from headrace.store.contract.trace import ROWS_MAX, ProcessingAttempt, TraceFacts
from headrace.store.engine.dialect import Statement, sql, without_lane
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.events.events import find_event
from headrace.store.events.trace_rows import (
    DEAD_LETTER_COLUMNS,
    SUBSCRIBER_COLUMNS,
    key_used,
    traced_dead_letter,
    traced_subscriber,
)

_OF_EVENT = "WHERE lane = $2 AND sequence = $1"
DECISION = without_lane(f"SELECT resolution, processed_us FROM event_states {_OF_EVENT}")
# On PostgreSQL a worker has one lease for all its claims. A dead one holds nothing, whatever the
# row of the event says until another worker takes the lane.
LEASE = sql(
    "WITH held AS MATERIALIZED "
    f"(SELECT owner, attempt FROM event_queue {_OF_EVENT} AND project_id = $3) "
    "SELECT w.lease_until_us, held.attempt FROM held JOIN workers w ON w.owner = held.owner",
    sqlite="SELECT lease_until_us, attempt FROM event_queue "
    "WHERE project_id = ?3 AND sequence = ?1 AND lease_until_us > 0",
)
RETRY = without_lane(f"SELECT due_us FROM event_retries {_OF_EVENT}")
REPEATS = without_lane(
    "SELECT at_us, api_key_id, request_id, mismatch FROM duplicate_requests "
    f"{_OF_EVENT} ORDER BY number LIMIT {ROWS_MAX}"
)
ATTEMPTS = without_lane(
    "SELECT number, at_us, duration_us, cause, error FROM processing_attempts "
    f"{_OF_EVENT} ORDER BY number LIMIT {ROWS_MAX}"
)
DEAD_LETTERS = without_lane(
    f"SELECT {DEAD_LETTER_COLUMNS} FROM dead_letters {_OF_EVENT} ORDER BY number LIMIT {ROWS_MAX}"
)
SUBSCRIBERS = sql(
    f"SELECT {SUBSCRIBER_COLUMNS} FROM subscribers "
    f"WHERE project_id IN (0, $1) ORDER BY project_id, created_us LIMIT {ROWS_MAX}"
)

#: Deliveries of an event, by project and sequence.
DeliveriesOfEvent = Callable[[Transaction, int, int], Awaitable[Sequence[DeliveryRecord]]]


class Trace:
    """Traces of all projects."""

    def __init__(self, database: Database, deliveries_of_event: DeliveriesOfEvent) -> None:
        self._database = database
        self._deliveries_of_event = deliveries_of_event

    async def facts(self, project_id: int, event_id: bytes) -> TraceFacts | None:
        """Everything about an event, from one snapshot; None when the project has no such event."""

        async def read(tx: Transaction) -> TraceFacts | None:
            event = await find_event(tx, project_id, event_id)
            return None if event is None else await self._facts(tx, event)

        return await self._database.read(read, snapshot=True)

    async def _facts(self, tx: Transaction, event: StoredEvent) -> TraceFacts:
        place = event.sequence, lane_of_id(event.id)

        async def rows(statement: Statement) -> Sequence[Any]:
            return await tx.rows(statement, *place)

        resolution, processed_us = await tx.row(DECISION, *place) or (None, None)
        lease_until_us, attempt = await tx.row(LEASE, *place, event.project_id) or (None, 0)
        deliveries = await self._deliveries_of_event(tx, event.project_id, event.sequence)
        subscribers = await tx.rows(SUBSCRIBERS, event.project_id)
        return TraceFacts(
            event=event,
            resolution=resolution,
            processed_us=processed_us,
            lease_until_us=lease_until_us,
            leased_attempt=attempt,
            retry_due_us=await tx.value(RETRY, *place),
            repeats=[key_used(row) for row in await rows(REPEATS)],
            attempts=[ProcessingAttempt(*row) for row in await rows(ATTEMPTS)],
            deliveries=deliveries,
            dead_letters=[traced_dead_letter(row) for row in await rows(DEAD_LETTERS)],
            subscribers=[traced_subscriber(row) for row in subscribers],
        )
