"""Counters by minute, hour and day on PostgreSQL.

Rows carry a lane of whoever writes them, so writers rarely meet in one row; readers add them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headrace.domain.identity import LANES
from headrace.domain.rollups import GRAINS, KEPT_S, Tally
from headrace.store.contract_rollups import SUBSCRIBERS_MAX, Counted, RollupRow
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.database import Connection, Database
from headrace.store.rows.rollups import by_grain

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
_READ = (
    "SELECT at, counts, accept, processing, delivery FROM rollups WHERE project_id = $1 "
    "AND grain = $2 AND at BETWEEN $3 AND $4 AND subject = '' ORDER BY at"
)
_SUBSCRIBERS = (
    "SELECT subject, counts, accept, processing, delivery FROM rollups WHERE project_id = $1 "
    "AND grain = $2 AND at BETWEEN $3 AND $4 AND subject > ''"
)
_DUE = (
    "SELECT lane, project_id, grain, at, subject FROM rollups WHERE grain = $1 AND at < $2 "
    "ORDER BY at LIMIT $3"
)
_PRUNE = (
    "DELETE FROM rollups AS r USING unnest($1::smallint[], $2::int[], $3::int[], $4::int[], "
    "$5::text[]) AS k (lane, project_id, grain, at, subject) WHERE r.lane = k.lane "
    "AND r.project_id = k.project_id AND r.grain = k.grain AND r.at = k.at "
    "AND r.subject = k.subject"
)


class PostgresRollups:
    """See `headrace.store.contract_rollups.RollupStore`.

    Args:
        writer: number of this process; rows that it adds by itself carry it as their lane.
    """

    def __init__(self, database: Database, writer: int) -> None:
        self._database = database
        self._lane = writer % LANES

    async def add(self, counted: Sequence[Counted]) -> None:
        if counted:
            await self._database.write(
                lambda connection: add_rollups(connection, self._lane, counted)
            )

    async def read(self, project_id: int, grain_s: int, first: int, last: int) -> list[RollupRow]:
        rows = await self._database.read(
            lambda connection: connection.fetch(_READ, project_id, grain_s, first, last)
        )
        sums: dict[int, Tally] = {}
        for at, *columns in rows:
            sums.setdefault(at, Tally()).add(Tally(*columns))
        return [RollupRow(at, "", tally) for at, tally in sums.items()]

    async def subscribers(
        self, project_id: int, grain_s: int, first: int, last: int
    ) -> list[RollupRow]:
        rows = await self._database.read(
            lambda connection: connection.fetch(_SUBSCRIBERS, project_id, grain_s, first, last)
        )
        sums: dict[str, Tally] = {}
        for subject, *columns in rows:
            if subject in sums or len(sums) < SUBSCRIBERS_MAX:
                sums.setdefault(subject, Tally()).add(Tally(*columns))
        return [RollupRow(first, subject, tally) for subject, tally in sums.items()]

    async def prune(self, now_us: int, limit: int) -> int:
        now_s = now_us // 1_000_000

        async def work(connection: Connection) -> int:
            count = 0
            for grain in GRAINS:
                before = (now_s - KEPT_S[grain]) // grain
                due = sorted(
                    tuple(row) for row in await connection.fetch(_DUE, grain, before, limit)
                )
                if due:
                    await connection.execute(_PRUNE, *columns_of(due, 5))
                count += len(due)
            return count

        return await self._database.write(work)


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
    """Text of an array: a parameter can hold no arrays of different lengths."""
    return None if column is None else "{" + ",".join(map(str, column)) + "}"
