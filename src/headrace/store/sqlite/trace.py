"""Everything about one event, read from the embedded store in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.events import StoredEvent
from headrace.domain.ids import sequence_of_id
from headrace.store.contract_dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract_delivery import SubscriberKind
from headrace.store.contract_trace import (
    ROWS_MAX,
    KeyUsed,
    ProcessingAttempt,
    TracedDeadLetter,
    TracedSubscriber,
    TraceFacts,
)
from headrace.store.sqlite.delivery_lists import deliveries_of_event
from headrace.store.sqlite.events import COLUMNS, stored_event
from headrace.store.sqlite.readers import Readers

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
    "SELECT id, kind, subscriber_id, cause, error, attempts, dead_lettered_us, state, closed_us, "  # noqa: S608
    f"closed_by, reason FROM dead_letters WHERE sequence = ? ORDER BY number LIMIT {ROWS_MAX}"
)
_SUBSCRIBERS = (
    "SELECT id, kind, target, events, enabled, disabled_reason, disabled_us, created_us, "  # noqa: S608
    "updated_us FROM subscribers WHERE project_id IN (0, ?) "
    f"ORDER BY project_id, created_us LIMIT {ROWS_MAX}"
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
        repeats=[KeyUsed(a, k, r, bool(m)) for a, k, r, m in rows(_REPEATS, sequence)],
        attempts=[ProcessingAttempt(*row) for row in rows(_ATTEMPTS, sequence)],
        deliveries=deliveries_of_event(connection, event.project_id, sequence),
        dead_letters=[_dead_letter(row) for row in rows(_DEAD_LETTERS, sequence)],
        subscribers=[_subscriber(row) for row in rows(_SUBSCRIBERS, event.project_id)],
    )


def _dead_letter(row: Sequence[Any]) -> TracedDeadLetter:
    dead_letter_id, kind, subscriber_id, cause, error, attempts, dead_us, state, *closed = row
    closed_us, closed_by, reason = closed
    return TracedDeadLetter(
        id=dead_letter_id,
        kind=DeadLetterKind(kind),
        subscriber_id=subscriber_id,
        cause=cause,
        error=error,
        attempts=attempts,
        dead_lettered_us=dead_us,
        state=DeadLetterState(state),
        closed_us=closed_us,
        closed_by=closed_by,
        reason=reason,
    )


def _subscriber(row: Sequence[Any]) -> TracedSubscriber:
    subscriber_id, kind, target, events, enabled, reason, disabled_us, created_us, updated_us = row
    return TracedSubscriber(
        id=subscriber_id,
        kind=SubscriberKind(kind),
        target=target,
        events=tuple(msgspec.json.decode(events)),
        enabled=bool(enabled),
        disabled_reason=reason,
        disabled_us=disabled_us,
        created_us=created_us,
        updated_us=updated_us,
    )
