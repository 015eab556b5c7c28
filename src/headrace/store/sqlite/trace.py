"""Everything about one event, read from the embedded store in one snapshot."""

from __future__ import annotations

from typing import Any

import apsw

from headrace.domain.events import StoredEvent
from headrace.domain.ids import sequence_of_id
from headrace.store.contract_trace import ROWS_MAX, ProcessingAttempt, TraceFacts
from headrace.store.deliveries.delivery_lists import deliveries_of_event
from headrace.store.engine.transaction import drive
from headrace.store.rows.trace import (
    DEAD_LETTER_COLUMNS,
    SUBSCRIBER_COLUMNS,
    key_used,
    traced_dead_letter,
    traced_subscriber,
)
from headrace.store.sqlite.events import COLUMNS, stored_event
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction

_EVENT = f"SELECT {COLUMNS} FROM events WHERE sequence = ? AND id = ? AND project_id = ?"  # noqa: S608
_DECISION = "SELECT resolution, processed_us FROM events WHERE sequence = ?"
_LEASE = (
    "SELECT lease_until_us, attempt FROM work "
    "WHERE project_id = ? AND sequence = ? AND lease_until_us > 0"
)
_RETRY = "SELECT due_us FROM work_retries WHERE sequence = ?"
_REPEATS = (
    "SELECT at_us, api_key_id, request_id, mismatch FROM key_repeats "  # noqa: S608
    f"WHERE sequence = ? ORDER BY number LIMIT {ROWS_MAX}"
)
_ATTEMPTS = (
    "SELECT number, at_us, duration_us, cause, error FROM processing_attempts "  # noqa: S608
    f"WHERE sequence = ? ORDER BY number LIMIT {ROWS_MAX}"
)
_DEAD_LETTERS = (
    f"SELECT {DEAD_LETTER_COLUMNS} FROM dead_letters "  # noqa: S608
    f"WHERE sequence = ? ORDER BY number LIMIT {ROWS_MAX}"
)
_SUBSCRIBERS = (
    f"SELECT {SUBSCRIBER_COLUMNS} FROM subscribers "  # noqa: S608
    f"WHERE project_id IN (0, ?) ORDER BY project_id, created_us LIMIT {ROWS_MAX}"
)


class SqliteTrace:
    """See `headrace.store.contract_trace.TraceStore`."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def facts(self, project_id: int, event_id: bytes) -> TraceFacts | None:
        def read(connection: apsw.Connection) -> TraceFacts | None:
            place = (sequence_of_id(event_id), event_id, project_id)
            row: Any = connection.execute(_EVENT, place).fetchone()
            return None if row is None else _facts(connection, stored_event(row))

        return await self._readers.run(read)


def _facts(connection: apsw.Connection, event: StoredEvent) -> TraceFacts:
    def rows(sql: str, value: int) -> list[Any]:
        return connection.execute(sql, (value,)).fetchall()

    sequence = event.sequence
    resolution, processed_us = rows(_DECISION, sequence)[0]
    lease: Any = connection.execute(_LEASE, (event.project_id, sequence)).fetchone()
    retry = rows(_RETRY, sequence)
    return TraceFacts(
        event=event,
        resolution=resolution,
        processed_us=processed_us,
        lease_until_us=lease[0] if lease else None,
        leased_attempt=lease[1] if lease else 0,
        retry_due_us=retry[0][0] if retry else None,
        repeats=[key_used(row) for row in rows(_REPEATS, sequence)],
        attempts=[ProcessingAttempt(*row) for row in rows(_ATTEMPTS, sequence)],
        deliveries=drive(
            deliveries_of_event(SqliteTransaction(connection), event.project_id, sequence)
        ),
        dead_letters=[traced_dead_letter(row) for row in rows(_DEAD_LETTERS, sequence)],
        subscribers=[traced_subscriber(row) for row in rows(_SUBSCRIBERS, event.project_id)],
    )
