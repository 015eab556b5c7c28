"""Counters by minute, hour and day.

On PostgreSQL rows carry a lane of their writer, so writers rarely contend for a row; readers add
them up. On SQLite there is one row of each, in lane 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.upkeep.rollups import GRAINS, KEPT_S, Tally
from headrace.store.contract.rollups import SUBSCRIBERS_MAX, Counted, RollupRow
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction

_COLUMNS = "counts, accept, processing, delivery"
READ = sql(
    f"SELECT at, {_COLUMNS} FROM rollups WHERE project_id = $1 AND grain = $2 "
    "AND at BETWEEN $3 AND $4 AND subject = '' ORDER BY at"
)
SUBSCRIBERS = sql(
    f"SELECT subject, {_COLUMNS} FROM rollups WHERE project_id = $1 AND grain = $2 "
    "AND at BETWEEN $3 AND $4 AND subject > ''"
)
EXPIRED = sql(
    "SELECT lane, project_id, grain, at, subject FROM rollups WHERE grain = $1 AND at < $2 "
    "ORDER BY at LIMIT $3"
)
REMOVE = sql(
    "DELETE FROM rollups WHERE (lane, project_id, grain, at, subject) IN "
    "(SELECT k.lane, k.project_id, k.grain, k.at, k.subject FROM unnest($1::smallint[], "
    "$2::int[], $3::int[], $4::int[], $5::text[]) AS k (lane, project_id, grain, at, subject))"
)
_decode = msgspec.json.Decoder(list[int]).decode


class RollupWrites(Protocol):
    """Adds to counters. Each store has its own: it runs with every processed batch."""

    async def add(self, tx: Transaction, counted: Iterable[Counted]) -> None:
        """Add to the rows of minute, hour and day."""
        ...


class Rollups:
    """Counters of projects and subscribers."""

    def __init__(self, database: Database, writes: RollupWrites) -> None:
        self._database = database
        self._writes = writes

    async def add(self, counted: Sequence[Counted]) -> None:
        """Add to the rows of minute, hour and day, in a transaction of its own."""
        if counted:
            await self._database.write(lambda tx: self._writes.add(tx, counted))

    async def read(self, project_id: int, grain_s: int, first: int, last: int) -> list[RollupRow]:
        """Rows of the project itself from `first` to `last`, oldest first.

        Times in which nothing happened are left out.
        """
        values = (project_id, grain_s, first, last)
        rows = await self._database.read(lambda tx: tx.rows(READ, *values))
        sums: dict[int, Tally] = {}
        for at, *columns in rows:
            sums.setdefault(at, Tally()).add(_tally(columns))
        return [RollupRow(at, "", tally) for at, tally in sums.items()]

    async def subscribers(
        self, project_id: int, grain_s: int, first: int, last: int
    ) -> list[RollupRow]:
        """One row a subscriber, summed over the time; at most `SUBSCRIBERS_MAX`."""
        values = (project_id, grain_s, first, last)
        rows = await self._database.read(lambda tx: tx.rows(SUBSCRIBERS, *values))
        sums: dict[str, Tally] = {}
        for subject, *columns in rows:
            if subject in sums or len(sums) < SUBSCRIBERS_MAX:
                sums.setdefault(subject, Tally()).add(_tally(columns))
        return [RollupRow(first, subject, tally) for subject, tally in sums.items()]

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` expired rows of each grain; returns how many were removed."""
        now_s = now_us // 1_000_000

        async def find(tx: Transaction) -> list[Row]:
            found: list[Row] = []
            for grain in GRAINS:
                before = (now_s - KEPT_S[grain]) // grain
                found += await tx.rows(EXPIRED, grain, before, limit)
            return found

        # Usually nothing is due: then the write lock of SQLite is not taken.
        rows = await self._database.read(find)
        if not rows:
            return 0
        keys = columns_of(sorted(map(tuple, rows)), 5)
        return await self._database.write(lambda tx: tx.run(REMOVE, *keys))


def _tally(columns: Sequence[Any]) -> Tally:
    """From `_COLUMNS`: arrays on PostgreSQL, JSON on SQLite."""
    return Tally(*(_decode(each) if isinstance(each, str) else each for each in columns))
