"""SQL of what follows from attempts: delivered, retry, dead letter; rescue and shedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.ids import lane_of_id, uuid_text
from headrace.store.contract_delivery import ATTEMPTS_KEPT, DISABLED_WAIT_US, AttemptRecord
from headrace.store.deliveries.endings import (
    Ending,
    after_attempt,
    after_loss,
    after_waiting,
    attempt_values,
)
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.rollups import add_rollups
from headrace.store.rows.rollups import dead_lettered

#: Subscribers that one look for such deliveries passes; the next one goes on.
UNWANTED_STEP = 200

# Fenced by the claim, and by what else `{fence}` names.
_END = """
UPDATE deliveries AS d
SET state = r.state, due_us = coalesce(r.due_us, d.due_us), finished_us = r.finished_us,
    last_error = r.error, owner = NULL, lease_until_us = 0, crashes = r.crashes,
    attempt = d.attempt - {uncounted}
FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::smallint[], $5::bigint[],
    $6::bigint[], $7::text[], $8::smallint[], $9::{fence_type}[])
    AS r (lane, number, claim, state, due_us, finished_us, error, crashes, fence)
WHERE d.lane = r.lane AND d.number = r.number AND d.claims = r.claim AND d.state + 0 = 1
    AND d.{fence} = r.fence
RETURNING d.number
"""
FINISH = _END.format(uncounted=0, fence="owner", fence_type="text")
TAKE_BACK = _END.format(uncounted=1, fence="lease_until_us", fence_type="bigint")
ADD_ATTEMPTS = """
INSERT INTO delivery_attempts (lane, delivery_number, number, at_us, duration_us, cause, error,
    http_status, excerpt)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[],
    $6::text[], $7::text[], $8::integer[], $9::text[])
"""
FORGET_ATTEMPTS = """
DELETE FROM delivery_attempts AS a
USING unnest($1::smallint[], $2::bigint[], $3::integer[]) AS k (lane, number, last)
WHERE a.lane = k.lane AND a.delivery_number = k.number AND a.number <= k.last
"""
# Of an event that is gone there is nothing to deliver, and nobody to tell.
ADD_DEAD_LETTERS = """
INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, subscriber_id,
    delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us)
SELECT d.lane, r.number, r.id, d.project_id, d.sequence, e.event, 'delivery', d.subscriber_id,
    d.number, r.cause, r.error, d.attempt, coalesce((
        SELECT min(a.at_us) FROM delivery_attempts AS a
        WHERE a.lane = d.lane AND a.delivery_number = d.number AND a.cause IS NOT NULL
    ), $7), $7
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
    AS r (lane, delivery_number, number, id, cause, error)
JOIN deliveries AS d ON d.lane = r.lane AND d.number = r.delivery_number
JOIN events AS e ON e.lane = d.lane AND e.sequence = d.sequence
"""
OWNERS = "SELECT DISTINCT owner FROM deliveries WHERE state = 1 AND lane = ANY($1::smallint[])"
_ALIVE = "SELECT owner FROM workers WHERE owner = ANY($1::text[])"
# With the last attempts in a row that a worker left without a result.
LOST = """
SELECT lane, number, project_id, subscriber_id, claims, crashes, lease_until_us, (
    SELECT count(*) FROM delivery_attempts AS a
    WHERE a.lane = d.lane AND a.delivery_number = d.number AND a.number > coalesce((
        SELECT max(b.number) FROM delivery_attempts AS b
        WHERE b.lane = d.lane AND b.delivery_number = d.number
            AND b.cause IS DISTINCT FROM 'worker_lost'
    ), 0)
) FROM deliveries AS d
WHERE state = 1 AND lane = ANY($1::smallint[]) AND (lease_until_us <= $2 OR owner = ANY($3::text[]))
ORDER BY lane, number LIMIT $4
"""
# Hops from subscriber to subscriber over the index, however many deliveries each has.
NEXT_WAITED_FOR = """
SELECT subscriber_id FROM deliveries WHERE state IN (0, 2) AND subscriber_id > $1
ORDER BY subscriber_id LIMIT 1
"""
_WANTED = "SELECT id, NOT enabled AND disabled_us <= $2 FROM subscribers WHERE id = ANY($1::text[])"
WAITING_FOR = """
SELECT lane, number FROM deliveries
WHERE subscriber_id = $1 AND state IN (0, 2) AND lane = ANY($2::smallint[]) LIMIT $3
"""
SHED = """
UPDATE deliveries AS d SET state = 4, finished_us = $3, last_error = $4
FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)
WHERE d.lane = k.lane AND d.number = k.number AND d.state + 0 IN (0, 2)
RETURNING d.lane, d.number, d.project_id
"""
_NAMED = "unnest($1::smallint[], $2::bigint[]) AS k (lane, number)"
#: Deletes deliveries and their attempts.
DROP = tuple(
    f"DELETE FROM {table} AS t USING {_NAMED} WHERE t.lane = k.lane AND t.{column} = k.number"  # noqa: S608
    for table, column in (("delivery_attempts", "delivery_number"), ("deliveries", "number"))
)


class Lost(msgspec.Struct, frozen=True):
    """A claim that its owner will not finish."""

    lane: int
    number: int
    project_id: int
    subscriber_id: str
    claim: int
    crashes: int
    lease_until_us: int
    losses: int


class _End(msgspec.Struct, frozen=True):
    """The end of one claim: which, what follows, and what is remembered of the attempt."""

    lane: int
    number: int
    claim: int
    ending: Ending
    attempt: tuple[Any, ...]
    #: Value of the column that fences it besides the claim.
    fence: str | int


async def finish(
    connection: Connection,
    numbers: Numbers,
    owner: str,
    records: Sequence[AttemptRecord],
    now_us: int,
) -> frozenset[int]:
    """Record attempts and what follows; numbers of the deliveries whose claim was ours."""
    ends = []
    for record in records:
        claimed, ending = record.claimed, after_attempt(record, now_us)
        lane, attempt = lane_of_id(claimed.event.id), attempt_values(record, ending)
        ends.append(_End(lane, claimed.number, claimed.claim, ending, attempt, owner))
    return await _end(connection, numbers, FINISH, ends, now_us)


async def _end(
    connection: Connection, numbers: Numbers, statement: str, ends: Sequence[_End], now_us: int
) -> frozenset[int]:
    """End claims; numbers of those that were as they were named."""
    ends = sorted(ends, key=lambda end: (end.lane, end.number))
    rows = [
        (
            *(end.lane, end.number, end.claim, end.ending.state.value, end.ending.due_us),
            *(end.ending.finished_us, end.ending.error, end.ending.crashes, end.fence),
        )
        for end in ends
    ]
    found = await connection.fetch(statement, *columns_of(rows, 9))
    ours = frozenset(number for (number,) in found)
    ended = [end for end in ends if end.number in ours]
    if ended:
        await _remember(connection, ended)
    await _add_dead_letters(
        connection,
        numbers,
        [(end.lane, end.number, end.ending) for end in ended if end.ending.dead],
        now_us,
    )
    return ours


async def _remember(connection: Connection, ends: Sequence[_End]) -> None:
    attempts = [(end.lane, end.number, *end.attempt) for end in ends]
    await connection.execute(ADD_ATTEMPTS, *columns_of(attempts, 9))
    old = [
        (end.lane, end.number, end.claim - ATTEMPTS_KEPT)
        for end in ends
        if end.claim > ATTEMPTS_KEPT
    ]
    if old:
        await connection.execute(FORGET_ATTEMPTS, *columns_of(old, 3))


async def _add_dead_letters(
    connection: Connection,
    numbers: Numbers,
    dead: Sequence[tuple[int, int, Ending]],
    now_us: int,
) -> None:
    if not dead:
        return
    rows = []
    for lane, delivery_number, ending in dead:
        number, letter_id = numbers.event(lane)
        named = (lane, delivery_number, number, uuid_text(letter_id))
        rows.append((*named, ending.cause, ending.error))
    await connection.execute(ADD_DEAD_LETTERS, *columns_of(rows, 6), now_us)


async def find_lost(
    connection: Connection, lanes: Sequence[int], limit: int, now_us: int
) -> list[Lost]:
    """Claims whose lease ran out, and those of workers that are not registered any more.

    A worker is registered before it claims, so an owner that was found first and is not registered
    then has gone.
    """
    owners = {owner for (owner,) in await connection.fetch(OWNERS, lanes)}
    alive = {owner for (owner,) in await connection.fetch(_ALIVE, sorted(owners))}
    rows = await connection.fetch(LOST, lanes, now_us, sorted(owners - alive), limit)
    return [Lost(*row) for row in rows]


async def take_back(
    connection: Connection,
    numbers: Numbers,
    found: Sequence[Lost],
    lanes: Sequence[int],
    now_us: int,
) -> list[str]:
    """Take back what was found, unless it was finished or renewed meanwhile; the subscribers."""
    ends = []
    for lost in found:
        ending = after_loss(lost.crashes, lost.losses, now_us)
        attempt = (lost.claim, now_us, 0, ending.cause, ending.error, None, None)
        named = (lost.lane, lost.number, lost.claim)
        ends.append(_End(*named, ending, attempt, lost.lease_until_us))
    taken = await _end(connection, numbers, TAKE_BACK, ends, now_us)
    dead = {end.number for end in ends if end.ending.dead} & taken
    counted = [(lost.project_id, lost.subscriber_id) for lost in found if lost.number in dead]
    await _count_dead(connection, lanes, counted, now_us)
    return [lost.subscriber_id for lost in found if lost.number in taken]


async def _count_dead(
    connection: Connection, lanes: Sequence[int], dead: Sequence[tuple[int, str]], now_us: int
) -> None:
    """Count dead letters, by project and subscriber of each."""
    if dead:
        # In another lane than the counters of processing.
        await add_rollups(connection, max(lanes), dead_lettered(dead, now_us))


async def find_unwanted(
    connection: Connection, after: str, now_us: int
) -> tuple[list[tuple[str, bool]], str]:
    """Subscribers that deliveries wait for without a chance, and whether they were deleted.

    Also where the next look goes on; empty at the end.
    """
    names: list[str] = []
    while len(names) < UNWANTED_STEP:
        name = await connection.fetchval(NEXT_WAITED_FOR, names[-1] if names else after)
        if name is None:
            break
        names.append(name)
    rows = await connection.fetch(_WANTED, names, now_us - DISABLED_WAIT_US)
    disabled = dict(rows)
    unwanted = [(name, name not in disabled) for name in names if disabled.get(name, True)]
    return unwanted, names[-1] if len(names) == UNWANTED_STEP else ""


async def shed(
    connection: Connection,
    numbers: Numbers,
    unwanted: Sequence[tuple[str, bool]],
    lanes: Sequence[int],
    limit: int,
    now_us: int,
) -> int:
    """See `Deliveries.shed`."""
    shed_rows = 0
    for subscriber_id, deleted in unwanted:
        ending = after_waiting(now_us, deleted=deleted)
        left = limit - shed_rows
        rows = await connection.fetch(WAITING_FOR, subscriber_id, lanes, left)
        named = columns_of(sorted((lane, number) for lane, number in rows), 2)
        gone = await connection.fetch(SHED, *named, now_us, ending.error)
        dead = sorted((lane, number) for lane, number, _ in gone)
        await _add_dead_letters(connection, numbers, [(*key, ending) for key in dead], now_us)
        counted = [(project_id, subscriber_id) for _, _, project_id in gone]
        await _count_dead(connection, lanes, counted, now_us)
        shed_rows += len(dead)
    return shed_rows
