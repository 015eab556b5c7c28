"""Reading deliveries with their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from headrace.store.contract_delivery import (
    ATTEMPTS_KEPT,
    Attempt,
    DeliveryRecord,
)
from headrace.store.rows.deliveries import OF_EVENT_MAX, attempt_of, delivery_record

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
    f"{_SELECT} WHERE d.sequence = ? AND d.project_id = ? ORDER BY d.number LIMIT {OF_EVENT_MAX}"
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
    return [delivery_record(row, _attempts(connection, row[0])) for row in rows]


def _attempts(connection: apsw.Connection, number: int) -> list[Attempt]:
    rows: list[Any] = connection.execute(_ATTEMPTS, (number,)).fetchall()
    return [attempt_of(row) for row in reversed(rows)]
