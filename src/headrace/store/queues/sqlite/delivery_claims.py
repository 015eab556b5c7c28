"""SQL of the queue of deliveries: due queues, claiming, giving back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import apsw

from headrace.delivery.contract import HandlerTarget, WebhookTarget
from headrace.domain.deliveries.pace import Pace
from headrace.store.contract.deliveries import (
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    QueuePage,
    SubscriberKind,
    SubscriberQueue,
)
from headrace.store.contract.processing import LEASE_US
from headrace.store.deliveries.endings import ClaimedRow
from headrace.store.deliveries.subscriber_rows import (
    TARGET_COLUMNS,
    due_within,
    pace_of,
    target_of,
)

# Skips from queue to queue in the index, a seek or two each, however many deliveries each holds.
# (As one comparison of pairs it would scan the queue: the planner uses only the first column.)
DUE_QUEUES = """
WITH RECURSIVE queue (subscriber_id, project_id, place) AS (
    SELECT * FROM (
        SELECT subscriber_id, project_id, 1 FROM deliveries INDEXED BY deliveries_due
        WHERE state IN (0, 2) AND (subscriber_id, project_id) > (:subscriber_id, :project_id)
        ORDER BY subscriber_id, project_id LIMIT 1
    )
    UNION ALL
    SELECT following.subscriber_id, following.project_id, queue.place + 1
    FROM queue JOIN deliveries AS following ON following.number = coalesce(
        (
            SELECT number FROM deliveries INDEXED BY deliveries_due
            WHERE state IN (0, 2) AND subscriber_id = queue.subscriber_id
                AND project_id > queue.project_id
            ORDER BY project_id LIMIT 1
        ), (
            SELECT number FROM deliveries INDEXED BY deliveries_due
            WHERE state IN (0, 2) AND subscriber_id > queue.subscriber_id
            ORDER BY subscriber_id, project_id LIMIT 1
        )
    )
    WHERE queue.place < :limit
)
SELECT queue.subscriber_id, queue.project_id, s.kind, s.enabled AND s.paused_us IS NULL, s.breaker,
    s.resume_per_second, s.resume_from_us, (
    SELECT count(*) FROM (
        SELECT 1 FROM deliveries AS d INDEXED BY deliveries_due
        WHERE d.subscriber_id = queue.subscriber_id AND d.project_id = queue.project_id
            AND d.due_us <= :now_us AND d.state IN (0, 2)
        LIMIT :due_max
    )
)
FROM queue LEFT JOIN subscribers AS s ON s.id = queue.subscriber_id
ORDER BY queue.place
"""
CLAIM = """
UPDATE deliveries
SET state = 1, attempt = attempt + 1, claims = claims + 1, owner = ?, lease_until_us = ?
WHERE number IN (
    SELECT number FROM deliveries INDEXED BY deliveries_due
    WHERE subscriber_id = ? AND project_id = ? AND due_us <= ? AND state IN (0, 2)
    ORDER BY due_us LIMIT ?
)
RETURNING lane, number, id, project_id, subscriber_id, attempt, claims, crashes, sequence
"""
_SUBSCRIBER = (
    f"SELECT resume_per_second, resume_from_us, {TARGET_COLUMNS} FROM subscribers "
    "WHERE id = ? AND enabled = 1 AND paused_us IS NULL AND breaker IS ?"
)
_USE_PACE = "UPDATE subscribers SET resume_from_us = ? WHERE id = ?"
_SET_BREAKER = "UPDATE subscribers SET breaker = ? WHERE id = ? AND breaker IS ?"
_RENEW = (
    "UPDATE deliveries SET lease_until_us = ? "
    "WHERE number = ? AND owner = ? AND claims = ? AND state = 1"
)
# A delivery that was never attempted is pending again.
_GIVE_BACK = (
    "UPDATE deliveries SET state = CASE WHEN attempt > 1 THEN 2 ELSE 0 END, "
    "attempt = attempt - 1, owner = NULL, lease_until_us = 0, due_us = :now_us "
    "WHERE {which} AND owner = :owner AND state = 1"
)
_GIVE_BACK_ONE = _GIVE_BACK.format(which="number = :number AND claims = :claim")
_GIVE_BACK_ALL = _GIVE_BACK.format(which="lease_until_us > 0")


def read_queues(
    connection: apsw.Connection,
    after: tuple[str, int] | None,
    handlers: Collection[str],
    limits: tuple[int, int],
    now_us: int,
) -> QueuePage:
    """See `Deliveries.queues`; `limits` are `limit` and `due_max`."""
    limit, due_max = limits
    # An empty text sorts before every id.
    subscriber_id, project_id = after or ("", 0)
    values = {
        "subscriber_id": subscriber_id,
        "project_id": project_id,
        "limit": limit,
        "due_max": due_max,
        "now_us": now_us,
    }
    rows: list[Any] = connection.execute(DUE_QUEUES, values).fetchall()
    queues = []
    for queue_of, project, kind, served, breaker, per_second, from_us, due in rows:
        count = due_within(pace_of(per_second, from_us), due, now_us)
        if count and served and (kind == SubscriberKind.WEBHOOK or queue_of in handlers):
            queues.append(SubscriberQueue(queue_of, project, SubscriberKind(kind), breaker, count))
    return QueuePage(queues, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None)


def claim(
    connection: apsw.Connection,
    owner: str,
    requests: Sequence[ClaimRequest],
    limit: int,
    now_us: int,
) -> list[ClaimedRow]:
    """Claim in the order of `requests`."""
    claimed: list[ClaimedRow] = []
    for request in requests:
        left = min(request.limit, limit - len(claimed))
        if left < 1:
            break
        found = _target(connection, request, now_us)
        if found is None:
            continue
        target, pace = found
        left = due_within(pace, left, now_us)
        values = (owner, now_us + LEASE_US, request.subscriber_id, request.project_id, now_us, left)
        rows: list[Any] = connection.execute(CLAIM, values).fetchall()
        claimed += [ClaimedRow(*[*row, target]) for row in rows]
        if rows:
            set_breaker(connection, request.breaker)
            if pace is not None:
                after = pace.after(len(rows), now_us)
                connection.execute(_USE_PACE, (after.from_us, request.subscriber_id))
    return claimed


def _target(
    connection: apsw.Connection, request: ClaimRequest, now_us: int
) -> tuple[WebhookTarget | HandlerTarget, Pace | None] | None:
    """Where to deliver and at which pace; None when the subscriber has changed meanwhile."""
    row: Any = connection.execute(
        _SUBSCRIBER, (request.subscriber_id, request.breaker.before)
    ).fetchone()
    if row is None:
        return None
    per_second, from_us, *target = row
    return target_of(target, now_us), pace_of(per_second, from_us)


def set_breaker(connection: apsw.Connection, change: BreakerChange) -> bool:
    """Change a breaker; False when its state has changed since."""
    if change.before == change.after:
        return True
    connection.execute(_SET_BREAKER, (change.after, change.subscriber_id, change.before))
    return connection.changes() == 1


def renew(
    connection: apsw.Connection, owner: str, claims: Sequence[ClaimedDelivery], now_us: int
) -> frozenset[int]:
    """See `Deliveries.renew`."""
    return _run_fenced(
        connection, claims, _RENEW, lambda one: (now_us + LEASE_US, one.number, owner, one.claim)
    )


def give_back(
    connection: apsw.Connection,
    owner: str,
    claims: Sequence[ClaimedDelivery] | None,
    now_us: int,
) -> int:
    """See `Deliveries.release`."""
    if claims is None:
        connection.execute(_GIVE_BACK_ALL, {"owner": owner, "now_us": now_us})
        return connection.changes()
    common = {"owner": owner, "now_us": now_us}
    return len(
        _run_fenced(
            connection,
            claims,
            _GIVE_BACK_ONE,
            lambda one: common | {"number": one.number, "claim": one.claim},
        )
    )


def _run_fenced(
    connection: apsw.Connection,
    claims: Sequence[ClaimedDelivery],
    statement: str,
    values: Callable[[ClaimedDelivery], Any],
) -> frozenset[int]:
    """Run a fenced statement for each claim; returns the numbers of those that it changed."""
    changed = set()
    for one in claims:
        connection.execute(statement, values(one))
        if connection.changes() == 1:
            changed.add(one.number)
    return frozenset(changed)
