"""Lists of deliveries with their attempts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.store.contract.deliveries import (
    ATTEMPTS_KEPT,
    Attempt,
    DeliveryRecord,
    DeliveryState,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Row, Transaction

#: Deliveries of one event that its trace shows; one for each subscriber that wanted it.
_OF_EVENT_MAX = 500

_ATTEMPT_NAMES = (
    *("number", "at_us", "duration_us", "cause", "error", "http_status", "excerpt"),
    *("version", "signed_s", "response_headers"),
)
_COLUMNS = (
    "SELECT d.lane, d.number, d.id, d.subscriber_id, e.id, e.event, d.state, d.attempt, d.due_us, "
    "d.created_us, d.finished_us, d.last_error, d.resent_us, d.resend_number"
)
OF_SUBSCRIBER = sql(
    f"{_COLUMNS} FROM deliveries AS d "
    "LEFT JOIN events AS e ON e.lane = d.lane AND e.sequence = d.sequence "
    "WHERE d.subscriber_id = $1 AND d.project_id = $2 AND d.number < $3 "
    "ORDER BY d.number DESC LIMIT $4"
)
OF_EVENT = sql(
    f"{_COLUMNS} FROM events AS e "
    "JOIN deliveries AS d ON d.lane = e.lane AND d.sequence = e.sequence "
    "WHERE e.project_id = $1 AND e.sequence = $2 AND d.project_id = $1 "
    f"ORDER BY d.number LIMIT {_OF_EVENT_MAX}"
)
# Read separately: on a cluster the table is on one node.
RESENT_BY = sql("SELECT number, actor FROM replays WHERE number = ANY($1::bigint[])")
ATTEMPTS = sql("""
SELECT a.lane, a.delivery_number, a.number, a.at_us, a.duration_us, a.cause, a.error,
    a.http_status, a.excerpt, a.version, a.signed_s, a.response_headers
FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)
JOIN delivery_attempts AS a ON a.lane = k.lane AND a.delivery_number = k.number
ORDER BY a.lane, a.delivery_number, a.number
""")


async def deliveries_of_subscriber(
    tx: Transaction, project_id: int, subscriber_id: str, before: int | None, limit: int
) -> Sequence[DeliveryRecord]:
    """See `Deliveries.list`."""
    below = BIGINT_MAX if before is None else before
    return await _records(tx, await tx.rows(OF_SUBSCRIBER, subscriber_id, project_id, below, limit))


async def deliveries_of_event(
    tx: Transaction, project_id: int, sequence: int
) -> Sequence[DeliveryRecord]:
    """See `Deliveries.of_event`."""
    return await _records(tx, await tx.rows(OF_EVENT, project_id, sequence))


async def _records(tx: Transaction, rows: Sequence[Row]) -> list[DeliveryRecord]:
    if not rows:
        return []
    keys = columns_of([row[:2] for row in rows], 2)
    attempts: dict[tuple[int, int], list[Attempt]] = {}
    for lane, number, *attempt in await tx.rows(ATTEMPTS, *keys):
        attempts.setdefault((lane, number), []).append(_attempt(attempt))
    jobs = sorted({row[-1] for row in rows if row[-1] is not None})
    actors = dict(map(tuple, await tx.rows(RESENT_BY, jobs))) if jobs else {}
    return [
        _record(
            (*row[1:-1], actors.get(row[-1])),
            attempts.get((row[0], row[1]), [])[-ATTEMPTS_KEPT:],
        )
        for row in rows
    ]


def _record(row: Row, attempts: Sequence[Attempt]) -> DeliveryRecord:
    """A delivery with its history.

    Columns: number, id, subscriber_id, id and name of the event, state, attempt, due_us,
    created_us, finished_us, last_error, resent_us, actor of the job that sent it again.
    """
    number, delivery_id, subscriber_id, event_id, event, state, attempt, *rest = row
    due_us, created_us, finished_us, last_error, resent_us, resent_by = rest
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
        attempts=attempts,
        resent_us=resent_us,
        resent_by=resent_by,
    )


def _attempt(row: Row) -> Attempt:
    """An attempt from its columns, in the order of the contract's fields."""
    attempt = Attempt(**dict(zip(_ATTEMPT_NAMES, row, strict=True)))
    if attempt.cause is None and attempt.error is not None:
        return msgspec.structs.replace(attempt, error=None, note=attempt.error)
    return attempt
