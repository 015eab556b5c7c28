"""Ends claims on PostgreSQL: a few statements for all claims of a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.ids import uuid_text
from headrace.store.contract.deliveries import ATTEMPTS_KEPT
from headrace.store.deliveries.claim_ends import End
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.engine.postgres.transaction import PostgresTransaction
from headrace.store.engine.transaction import Transaction

# Fenced by the claim, and by `{fence}`.
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
    http_status, excerpt, version, signed_s, response_headers)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[],
    $6::text[], $7::text[], $8::integer[], $9::text[], $10::integer[], $11::bigint[],
    $12::text[])
"""
FORGET_ATTEMPTS = """
DELETE FROM delivery_attempts AS a
USING unnest($1::smallint[], $2::bigint[], $3::integer[]) AS k (lane, number, last)
WHERE a.lane = k.lane AND a.delivery_number = k.number AND a.number <= k.last
"""


class PostgresOutcomes:
    """See `headrace.store.deliveries.claim_ends.Outcomes`."""

    def __init__(self, numbers: SequenceAllocator) -> None:
        self._numbers = numbers

    async def end(self, tx: Transaction, ends: Sequence[End], *, lost: bool) -> frozenset[int]:
        assert isinstance(tx, PostgresTransaction)
        columns = columns_of((end.values for end in ends), 9)
        rows = await tx.connection.fetch(TAKE_BACK if lost else FINISH, *columns)
        ended_numbers = frozenset(number for (number,) in rows)
        ended = [end for end in ends if end.number in ended_numbers]
        if ended:
            await _remember(tx.connection, ended)
        return ended_numbers

    async def dead_letter_ids(
        self, tx: Transaction, lanes: Sequence[int]
    ) -> Sequence[tuple[int, str]]:
        del tx
        new = (self._numbers.event(lane) for lane in lanes)
        return [(number, uuid_text(raw)) for number, raw in new]


async def _remember(connection: Connection, ends: Sequence[End]) -> None:
    attempts = ((end.lane, end.number, *end.attempt) for end in ends)
    await connection.execute(ADD_ATTEMPTS, *columns_of(attempts, 12))
    old = [
        (end.lane, end.number, end.claim - ATTEMPTS_KEPT)
        for end in ends
        if end.claim > ATTEMPTS_KEPT
    ]
    if old:
        await connection.execute(FORGET_ATTEMPTS, *columns_of(old, 3))
