"""Reading deliveries with their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from headrace.store.contract_delivery import (
    ATTEMPTS_KEPT,
    Attempt,
    DeliveryRecord,
    DeliveryState,
)

#: Deliveries of one event that its trace shows; one for each subscriber that wanted it.
_OF_EVENT_MAX = 500
_AFTER_ALL = 2**62

_SELECT = (
    "SELECT d.number, d.id, d.subscriber_id, e.id, e.event, d.state, d.attempt, d.due_us, "
    "d.created_us, d.finished_us, d.last_error "
    "FROM deliveries AS d LEFT JOIN events AS e ON e.sequence = d.sequence "
)
_OF_SUBSCRIBER = (
    f"{_SELECT} WHERE d.subscriber_id = ? AND d.project_id = ? AND d.number < ? "
    "ORDER BY d.number DESC LIMIT ?"
)
_OF_EVENT = (
    f"{_SELECT} WHERE d.sequence = ? AND d.project_id = ? ORDER BY d.number LIMIT {_OF_EVENT_MAX}"
)
_ATTEMPTS = (
    "SELECT number, at_us, duration_us, cause, error, http_status, excerpt FROM delivery_attempts "  # noqa: S608
    f"WHERE delivery_number = ? ORDER BY number DESC LIMIT {ATTEMPTS_KEPT}"
)


def deliveries_of_subscriber(
    connection: apsw.Connection,
    project_id: int,
    subscriber_id: str,
    before: int | None,
    limit: int,
) -> Sequence[DeliveryRecord]:
    """See `DeliveryStore.list`."""
    values = (subscriber_id, project_id, _AFTER_ALL if before is None else before, limit)
    return _records(connection, connection.execute(_OF_SUBSCRIBER, values).fetchall())


def deliveries_of_event(
    connection: apsw.Connection, project_id: int, sequence: int
) -> Sequence[DeliveryRecord]:
    """See `DeliveryStore.of_event`."""
    rows = connection.execute(_OF_EVENT, (sequence, project_id)).fetchall()
    return _records(connection, rows)


def _records(connection: apsw.Connection, rows: Sequence[Any]) -> list[DeliveryRecord]:
    return [_record(connection, row) for row in rows]


def _record(connection: apsw.Connection, row: Sequence[Any]) -> DeliveryRecord:
    number, delivery_id, subscriber_id, event_id, event, state, attempt, *rest = row
    due_us, created_us, finished_us, last_error = rest
    return DeliveryRecord(
        number=number,
        id=delivery_id,
        subscriber_id=subscriber_id,
        event_id=event_id,
        event=event,
        state=DeliveryState(state),
        attempt=attempt,
        due_us=due_us,
        created_us=created_us,
        finished_us=finished_us,
        last_error=last_error,
        attempts=_attempts(connection, number),
    )


def _attempts(connection: apsw.Connection, number: int) -> list[Attempt]:
    rows: list[Any] = connection.execute(_ATTEMPTS, (number,)).fetchall()
    names = ("number", "at_us", "duration_us", "cause", "error", "http_status", "excerpt")
    return [Attempt(**dict(zip(names, row, strict=True))) for row in reversed(rows)]
