"""Counters by minute, hour and day in the embedded store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.rollups import GRAINS, KEPT_S, Tally
from headrace.store.contract_rollups import SUBSCRIBERS_MAX, Counted, RollupRow
from headrace.store.rows.rollups import by_grain
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_COLUMNS = "counts, accept, processing, delivery"
_ONE = (
    f"SELECT {_COLUMNS} FROM rollups "  # noqa: S608
    "WHERE project_id = ? AND grain = ? AND at = ? AND subject = ?"
)
_PUT = (
    "INSERT INTO rollups (project_id, grain, at, subject, counts, accept, processing, delivery) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (project_id, grain, at, subject) DO UPDATE SET "
    "counts = excluded.counts, accept = excluded.accept, processing = excluded.processing, "
    "delivery = excluded.delivery"
)
_READ = (
    f"SELECT at, subject, {_COLUMNS} FROM rollups WHERE project_id = ? AND grain = ? "  # noqa: S608
    "AND at BETWEEN ? AND ? AND subject = '' ORDER BY at"
)
_SUBSCRIBERS = (
    f"SELECT at, subject, {_COLUMNS} FROM rollups WHERE project_id = ? AND grain = ? "  # noqa: S608
    "AND at BETWEEN ? AND ? AND subject > ''"
)
_PRUNE = (
    "DELETE FROM rollups WHERE (project_id, grain, at, subject) IN ("
    "SELECT project_id, grain, at, subject FROM rollups WHERE grain = ? AND at < ? LIMIT ?)"
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[int]).decode


class SqliteRollups:
    """See `headrace.store.contract_rollups.RollupStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def add(self, counted: Sequence[Counted]) -> None:
        if counted:
            await self._writer.run(lambda connection: add_rollups(connection, counted))

    async def read(self, project_id: int, grain_s: int, first: int, last: int) -> list[RollupRow]:
        return await self._readers.run(
            lambda connection: [
                RollupRow(at, subject, _tally(columns))
                for at, subject, *columns in connection.execute(
                    _READ, (project_id, grain_s, first, last)
                )
            ]
        )

    async def subscribers(
        self, project_id: int, grain_s: int, first: int, last: int
    ) -> list[RollupRow]:
        def read(connection: apsw.Connection) -> list[RollupRow]:
            rows: Any = connection.execute(_SUBSCRIBERS, (project_id, grain_s, first, last))
            sums: dict[str, Tally] = {}
            for _, subject, *columns in rows:
                if subject in sums or len(sums) < SUBSCRIBERS_MAX:
                    sums.setdefault(subject, Tally()).add(_tally(columns))
            return [RollupRow(first, subject, tally) for subject, tally in sums.items()]

        return await self._readers.run(read)

    async def prune(self, now_us: int, limit: int) -> int:
        now_s = now_us // 1_000_000
        befores = {grain: (now_s - KEPT_S[grain]) // grain for grain in GRAINS}

        def read(connection: apsw.Connection) -> list[int]:
            oldest = "SELECT min(at) FROM rollups WHERE grain = ?"
            firsts: dict[int, Any] = {
                grain: connection.execute(oldest, (grain,)).fetchone() for grain in GRAINS
            }
            return [g for g, row in firsts.items() if row[0] is not None and row[0] < befores[g]]

        def work(connection: apsw.Connection) -> int:
            count = 0
            for grain in due:
                connection.execute(_PRUNE, (grain, befores[grain], limit))
                count += connection.changes()
            return count

        due = await self._readers.run(read)
        return await self._writer.run(work) if due else 0


def add_rollups(connection: apsw.Connection, counted: Iterable[Counted]) -> None:
    """Add to the rows of minute, hour and day; runs inside the caller's transaction."""
    rows: list[tuple[Any, ...]] = []
    for key, tally in by_grain(counted).items():
        held: Any = connection.execute(_ONE, key).fetchone()
        if held is not None:
            tally.add(_tally(held))
        rows.append((*key, *(_text(column) for column in _columns(tally))))
    connection.executemany(_PUT, rows)


def _columns(tally: Tally) -> tuple[list[int] | None, ...]:
    return tally.counts, tally.accept, tally.processing, tally.delivery


def _text(column: list[int] | None) -> str | None:
    return None if column is None else _encode(column).decode()


def _tally(columns: Sequence[str | None]) -> Tally:
    return Tally(*(None if column is None else _decode(column) for column in columns))  # type: ignore[arg-type]
