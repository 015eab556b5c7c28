"""Ends claims of deliveries: records attempts and takes back lost claims.

All inside the caller's transaction, whose statements name their rows by key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.ids import lane_of_id
from headrace.store.contract.deliveries import AttemptRecord
from headrace.store.deliveries.endings import (
    Ending,
    after_attempt,
    after_loss,
    attempt_values,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

# A removed event leaves nothing to deliver and no dead letter. The end of the delivery
# has just written its error.
ADD_DEAD_LETTERS = sql("""
INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, subscriber_id,
    delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us)
SELECT d.lane, n.number, n.id, d.project_id, d.sequence, e.event, 'delivery', d.subscriber_id,
    d.number, $5, d.last_error, d.attempt, coalesce((
        SELECT min(a.at_us) FROM delivery_attempts AS a
        WHERE a.lane = d.lane AND a.delivery_number = d.number AND a.cause IS NOT NULL
    ), $6), $6
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[])
    AS n (lane, delivery_number, number, id)
JOIN deliveries AS d ON d.lane = n.lane AND d.number = n.delivery_number
JOIN events AS e ON e.lane = d.lane AND e.sequence = d.sequence
""")
OWNERS = sql("SELECT DISTINCT owner FROM deliveries WHERE state = 1 AND lane = ANY($1::smallint[])")
# With the latest consecutive attempts that a worker left without a result.
LOST = sql("""
SELECT k.lane, k.number, k.project_id, k.subscriber_id, k.claims, k.crashes, k.lease_until_us, (
    SELECT count(*) FROM delivery_attempts AS a
    WHERE a.lane = k.lane AND a.delivery_number = k.number AND a.number > coalesce((
        SELECT max(b.number) FROM delivery_attempts AS b
        WHERE b.lane = k.lane AND b.delivery_number = k.number
            AND b.cause IS DISTINCT FROM 'worker_lost'
    ), 0)
) FROM (
    SELECT lane, number, project_id, subscriber_id, claims, crashes, lease_until_us
    FROM deliveries WHERE state = 1 AND lane = ANY($1::smallint[])
        AND (lease_until_us <= $2 OR owner = ANY($3::text[]))
    ORDER BY lane, number LIMIT $4
) AS k
""")
#: Deletes deliveries and their attempts.
DROP = (
    sql("DELETE FROM delivery_attempts WHERE lane = $1 AND delivery_number = $2"),
    sql("DELETE FROM deliveries WHERE lane = $1 AND number = $2"),
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


class End(msgspec.Struct, frozen=True, gc=False):
    """The end of one claim: its key, what follows, and what is kept of the attempt."""

    lane: int
    number: int
    claim: int
    ending: Ending
    #: Columns of `delivery_attempts` from `number` on.
    attempt: tuple[Any, ...]
    #: What must be unchanged besides the claim: its owner, or the end of its expired lease.
    fence: str | int

    @property
    def values(self) -> tuple[Any, ...]:
        """The claim's key, its new state (`due_us` None: unchanged), and the fence.

        Lane, number, claim; state, due_us, finished_us, error, crashes; fence.
        """
        ending = self.ending
        return (
            *(self.lane, self.number, self.claim, ending.state.value, ending.due_us),
            *(ending.finished_us, ending.error, ending.crashes, self.fence),
        )


class Outcomes(Protocol):
    """Writes how claims ended. Each store has its own: this is a hot path."""

    async def end(self, tx: Transaction, ends: Sequence[End], *, lost: bool) -> frozenset[int]:
        """End claims and keep their attempts; returns the numbers of claims that still held.

        Args:
            ends: sorted by lane and number.
            lost: whether the attempts are not counted and are fenced by the lease, not by the
                owner.
        """
        ...

    async def dead_letter_ids(
        self, tx: Transaction, lanes: Sequence[int]
    ) -> Sequence[tuple[int, str]]:
        """Number and id of a new dead letter for an event of each lane.

        The id encodes both, as that of an event does, so that it finds the row.
        """
        ...


async def finish(
    tx: Transaction,
    outcomes: Outcomes,
    owner: str,
    records: Sequence[AttemptRecord],
    now_us: int,
) -> frozenset[int]:
    """Record attempts and what follows; returns the numbers of the deliveries whose claim held."""
    ends = []
    for record in records:
        claimed, ending = record.claimed, after_attempt(record, now_us)
        lane, attempt = lane_of_id(claimed.event.id), attempt_values(record, ending)
        ends.append(End(lane, claimed.number, claimed.claim, ending, attempt, owner))
    return await _end(tx, outcomes, ends, now_us, lost=False)


async def find_lost(
    tx: Transaction,
    dead_owners: Callable[[Transaction, Sequence[str]], Awaitable[Sequence[str]]],
    lanes: Sequence[int],
    limit: int,
    now_us: int,
) -> list[Lost]:
    """Claims whose lease ran out, and those of dead owners.

    Args:
        dead_owners: returns those of some owners that are dead.
    """
    owners = [row[0] for row in await tx.rows(OWNERS, lanes)]
    rows = await tx.rows(LOST, lanes, now_us, await dead_owners(tx, sorted(owners)), limit)
    return [Lost(*row) for row in rows]


async def take_back(
    tx: Transaction, outcomes: Outcomes, found: Sequence[Lost], now_us: int
) -> tuple[list[str], list[tuple[int, str]]]:
    """Take back `found` claims that were not finished or renewed in the meantime.

    Returns:
        The subscriber of each claim taken back; `(project, subscriber)` of each that became a dead
        letter.
    """
    ends = []
    for lost in found:
        ending = after_loss(lost.crashes, lost.losses, now_us)
        attempt = (lost.claim, now_us, 0, ending.cause, ending.error, *(None,) * 5)
        named = (lost.lane, lost.number, lost.claim)
        ends.append(End(*named, ending, attempt, lost.lease_until_us))
    taken = await _end(tx, outcomes, ends, now_us, lost=True)
    dead = {end.number for end in ends if end.ending.dead} & taken
    return (
        [lost.subscriber_id for lost in found if lost.number in taken],
        [(lost.project_id, lost.subscriber_id) for lost in found if lost.number in dead],
    )


async def _end(
    tx: Transaction, outcomes: Outcomes, ends: list[End], now_us: int, *, lost: bool
) -> frozenset[int]:
    ends.sort(key=lambda end: (end.lane, end.number))
    ended = await outcomes.end(tx, ends, lost=lost)
    dead = [end for end in ends if end.ending.dead and end.number in ended]
    await add_dead_letters(
        tx, outcomes, [(end.lane, end.number, str(end.ending.cause)) for end in dead], now_us
    )
    return ended


async def add_dead_letters(
    tx: Transaction, outcomes: Outcomes, dead: Sequence[tuple[int, int, str]], now_us: int
) -> None:
    """Insert a dead letter for each ended delivery: its lane, number and cause."""
    by_cause: dict[str, list[tuple[int, int]]] = {}
    for lane, number, cause in dead:
        by_cause.setdefault(cause, []).append((lane, number))
    for cause, keys in by_cause.items():
        new = await outcomes.dead_letter_ids(tx, [lane for lane, _ in keys])
        rows = [(*key, *named) for key, named in zip(keys, new, strict=True)]
        await tx.run(ADD_DEAD_LETTERS, *columns_of(rows, 4), cause, now_us)


async def drop(tx: Transaction, keys: Sequence[tuple[int, int]]) -> None:
    """Remove deliveries whose event is removed: there is nothing left to deliver."""
    for statement in DROP:
        await tx.run_many(statement, sorted(keys))
