"""Deliveries that wait for a subscriber that was deleted, or disabled for too long."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.contract.deliveries import DISABLED_WAIT_US
from headrace.store.deliveries.claim_ends import Outcomes, add_dead_letters
from headrace.store.deliveries.endings import after_waiting
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Subscribers that one scan covers; the next one continues after them.
SUBSCRIBERS_STEP = 200

# Skips from subscriber to subscriber in the index, however many deliveries each has.
NEXT_WAITED_FOR = sql("""
SELECT subscriber_id FROM deliveries WHERE state IN (0, 2) AND subscriber_id > $1
ORDER BY subscriber_id LIMIT 1
""")
_SUBSCRIBERS = sql(
    "SELECT id, NOT enabled AND disabled_us <= $2 FROM subscribers WHERE id = ANY($1::text[])"
)
WAITING_FOR = sql("""
SELECT lane, number FROM deliveries
WHERE subscriber_id = $1 AND state IN (0, 2) AND lane = ANY($2::smallint[]) LIMIT $3
""")
EXPIRE = sql("""
UPDATE deliveries SET state = 4, finished_us = $3, last_error = $4
FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)
WHERE deliveries.lane = k.lane AND deliveries.number = k.number AND deliveries.state + 0 IN (0, 2)
RETURNING deliveries.lane, deliveries.number, deliveries.project_id
""")


async def find_unroutable(
    tx: Transaction, after: str, now_us: int
) -> tuple[list[tuple[str, bool]], str]:
    """Subscribers whose waiting deliveries cannot be made, and whether they were deleted.

    Also where the next scan continues; empty at the end.
    """
    names: list[str] = []
    while len(names) < SUBSCRIBERS_STEP:
        name = await tx.value(NEXT_WAITED_FOR, names[-1] if names else after)
        if name is None:
            break
        names.append(name)
    rows = await tx.rows(_SUBSCRIBERS, names, now_us - DISABLED_WAIT_US)
    disabled = {name: bool(too_long) for name, too_long in rows}
    unroutable = [(name, name not in disabled) for name in names if disabled.get(name, True)]
    return unroutable, names[-1] if len(names) == SUBSCRIBERS_STEP else ""


async def expire_unroutable(
    tx: Transaction,
    outcomes: Outcomes,
    unroutable: Sequence[tuple[str, bool]],
    lanes: Sequence[int],
    limit: int,
    now_us: int,
) -> list[tuple[int, str]]:
    """Dead-letter deliveries to `unroutable` ones; returns `(project, subscriber)` of each."""
    expired: list[tuple[int, str]] = []
    for subscriber_id, deleted in unroutable:
        ending = after_waiting(now_us, deleted=deleted)
        waiting = await tx.rows(WAITING_FOR, subscriber_id, lanes, limit - len(expired))
        named = columns_of(sorted((lane, number) for lane, number in waiting), 2)
        rows = await tx.rows(EXPIRE, *named, now_us, ending.error)
        dead = sorted((lane, number) for lane, number, _ in rows)
        await add_dead_letters(tx, outcomes, [(*key, str(ending.cause)) for key in dead], now_us)
        expired += [(project_id, subscriber_id) for _, _, project_id in rows]
    return expired
