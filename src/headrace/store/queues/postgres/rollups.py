"""Adds to the counters by minute, hour and day on PostgreSQL.

Rows carry a lane of their writer, so writers rarely contend for a row; readers add them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headrace.domain.events.identity import LANES
from headrace.store.contract.rollups import Counted
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.transaction import PostgresTransaction
from headrace.store.engine.transaction import Transaction
from headrace.store.upkeep.rollup_counts import by_grain

_ADD = (
    "INSERT INTO rollups AS r (lane, project_id, grain, at, subject, counts, accept, processing, "
    "delivery) SELECT $1, n.project_id, n.grain, n.at, n.subject, n.counts::bigint[], "
    "n.accept::bigint[], n.processing::bigint[], n.delivery::bigint[] FROM unnest($2::int[], "
    "$3::int[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) "
    "AS n (project_id, grain, at, subject, counts, accept, processing, delivery) "
    "ON CONFLICT (lane, project_id, grain, at, subject) DO UPDATE SET "
    "counts = counts_added(r.counts, excluded.counts), "
    "accept = counts_added(r.accept, excluded.accept), "
    "processing = counts_added(r.processing, excluded.processing), "
    "delivery = counts_added(r.delivery, excluded.delivery)"
)


async def add_rollups(connection: Connection, lane: int, counted: Iterable[Counted]) -> None:
    """Add to the rows of minute, hour and day; runs inside the caller's transaction, at its end."""
    rows: list[tuple[Any, ...]] = [
        (
            *key,
            _array(tally.counts),
            _array(tally.accept),
            _array(tally.processing),
            _array(tally.delivery),
        )
        for key, tally in sorted(by_grain(counted).items())
    ]
    if rows:
        await connection.execute(_ADD, lane, *columns_of(rows, 8))


def _array(column: Sequence[int] | None) -> str | None:
    """Text of an array: a parameter cannot hold arrays of different lengths."""
    return None if column is None else "{" + ",".join(map(str, column)) + "}"


class PostgresRollupWrites:
    """See `headrace.store.upkeep.rollups.RollupWrites`.

    Args:
        writer: number of this process; rows that it adds outside processing carry it as their lane.
    """

    def __init__(self, writer: int) -> None:
        self._lane = writer % LANES

    async def add(self, tx: Transaction, counted: Iterable[Counted]) -> None:
        assert isinstance(tx, PostgresTransaction)
        await add_rollups(tx.connection, self._lane, counted)
